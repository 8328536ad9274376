// Two schedule books side by side: which products have another order, and which only another text.
#include "harness/probe/migration.h"

#include <gtest/gtest.h>

namespace isobit::probe {
namespace {

ProductBook book(const std::string& lines, const std::string& engine = "cublas") {
  auto out = parse_product_book("isobit products 1\nkey engine " + engine + "\n" + lines, "b");
  EXPECT_TRUE(out) << (out ? "" : out.error().text());
  return out ? *out : ProductBook{};
}

TEST(Migration, ChangesAreRunsOfRowsWithTheLinesOfBothSides) {
  const ProductBook a = book("fp32 8 100 1..20 fma proved 2 136\n");
  const ProductBook b = book(
      "fp32 8 100 1..4 fma forecast\nfp32 8 100 5..9 fma+slice:32 forecast\n"
      "fp32 8 100 11..20 fma+slice:64 open 5 136\n");
  const auto found = order_changes(a, b, mode_of(Precision::fp32), false, 8, 100, 15);
  ASSERT_EQ(found.changes.size(), 2U);
  EXPECT_EQ(found.compared, 9);
  EXPECT_EQ(found.changes[0].from_rows, 5);
  EXPECT_EQ(found.changes[0].to_rows, 9);
  EXPECT_EQ(text_of(found.changes[0].b->order), "fma+slice:32");
  EXPECT_EQ(found.changes[1].from_rows, 10);
  EXPECT_EQ(found.changes[1].to_rows, 15) << "no line and an open one are both no order";
  EXPECT_EQ(found.changes[1].b, nullptr);
  EXPECT_EQ(order_changes(a, b, mode_of(Precision::bf16), false, 8, 100, 15).compared, 0);
}

TEST(Migration, AnotherTextOfTheSameOperationsIsNoChange) {
  const auto same = [](const char* one, const char* other) {
    const ProductBook a = book(std::string("fp32 8 96 1 ") + one + " forecast\n");
    const ProductBook b = book(std::string("fp32 8 96 1 ") + other + " forecast\n");
    return order_changes(a, b, mode_of(Precision::fp32), false, 8, 96, 1).changes.empty();
  };
  EXPECT_TRUE(same("fma+slice:8", "fma+deal:8+lanes:264+meet:paired"));
  EXPECT_TRUE(same("fma+slice:32+meet:halves", "fma+slice:32+meet:paired"));
  EXPECT_FALSE(same("fma+slice:8", "fma+slice:8+meet:halves"));
  EXPECT_FALSE(same("sm90+operands:tf32", "sm90+operands:tf32-away"));
}

TEST(Migration, EightBitMatricesAreLookedUpAsEachLibraryTakesThem) {
  const ProductBook wide = book("bf16 8 256 1..4 sm90 proved 2 136\n");
  const ProductBook fp8 =
      book("bf16 8 256 1..4 sm90 proved 2 136\nfp8-e4m3 8 256 1..4 sm90+block:128 proved 2 136\n",
           "cublaslt:heuristic+operands:fp8");
  const Mode& mode = mode_of(Precision::fp8_e4m3);
  const auto layer = order_changes(wide, fp8, mode, true, 8, 256, 4);
  ASSERT_EQ(layer.changes.size(), 1U);
  EXPECT_EQ(layer.changes[0].b->operand, Format::e4m3);
  EXPECT_EQ(layer.compared, 4);
  EXPECT_TRUE(order_changes(wide, fp8, mode, false, 8, 256, 4).changes.empty()) << "lm_head";
  EXPECT_TRUE(order_changes(fp8, fp8, mode, true, 8, 256, 4).changes.empty());
}

}  // namespace
}  // namespace isobit::probe
