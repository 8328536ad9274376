// Products on engines that are here: what is captured is found again, and masks reveal its tree.
#include "harness/probe/products.h"

#include <gtest/gtest.h>

#include "harness/probe/reveal.h"
#include "harness/probe/search.h"
#include "runtime/base/file.h"

namespace isobit::probe {
namespace {

std::unique_ptr<Backend> engine(const std::string& text, Precision precision,
                                const std::string& folder = "") {
  EnginePairs pairs;
  const std::size_t colon = text.find(':');
  pairs.emplace_back(text.substr(0, colon),
                     colon == std::string::npos ? "" : text.substr(colon + 1));
  BackendOptions options;
  options.engine = *parse_engine(pairs, folder);
  auto made = make_backend(options, mode_of(precision));
  EXPECT_TRUE(made) << (made ? "" : made.error().text());
  return std::move(*made);
}

ProductPlan plan_of(std::int64_t n, std::int64_t k, std::vector<std::int64_t> rows) {
  ProductPlan plan;
  plan.outputs = n;
  plan.inputs = k;
  plan.rows = std::move(rows);
  plan.most_rows = plan.rows.back();
  return plan;
}

/// A twin of a book that is written for the test.
class ProbeTwin : public ::testing::Test {
 protected:
  void SetUp() override {
    auto folder = TemporaryFolder::make("isobit-probe");
    ASSERT_TRUE(folder);
    folder_ = std::make_unique<TemporaryFolder>(std::move(*folder));
    const std::string book =
        "isobit products 1\nkey engine cublas\nkey device cuda\nkey variant NVIDIA H200\n"
        "bf16 72 200 1..4 sm90+slice:64 proved 1 1\n"
        "bf16 72 200 5..9 sm90 proved 1 1\n"
        "bf16 72 200 10 sm90 forecast\n"
        "bf16 72 200 11 sm90 open 3 4\n"
        "fp32 72 600 1..9 fma+deal:1+lanes:16+block:256 proved 1 1\n"
        "fp32 72 100 3 fma+deal:8+lanes:3 proved 1 1\n";
    ASSERT_TRUE(write_file_atomically(folder_->path() + "/t.book", book));
  }
  std::unique_ptr<TemporaryFolder> folder_;
};

TEST_F(ProbeTwin, AnOrderIsFoundFromWhatItsTwinReturns) {
  for (const auto& [precision, k, rows, order] :
       {std::tuple{Precision::bf16, 200, 3, "sm90+slice:64"},
        std::tuple{Precision::bf16, 200, 7, "sm90"},
        std::tuple{Precision::fp32, 600, 9, "fma+deal:1+lanes:16+block:256"},
        std::tuple{Precision::fp32, 100, 3, "fma+deal:8+lanes:3"}}) {
    const auto backend = engine("twin:t.book", precision, folder_->path());
    Capture capture;
    capture.matrices = {capture_products(*backend, plan_of(72, k, {rows}))};
    const auto lines = search_orders(capture, {TensorCore::sm90, {}});
    ASSERT_EQ(lines.size(), 1U);
    EXPECT_EQ(text_of(lines[0].order), order);
    EXPECT_EQ(lines[0].evidence, ProductLine::Evidence::proved);
  }
}

TEST_F(ProbeTwin, WhatTheBookHasNotProvedIsRefusedByName) {
  const auto backend = engine("twin:t.book", Precision::bf16, folder_->path());
  for (const auto& [rows, says] :
       {std::pair{10, "has only a forecast for bf16, outputs 72"},
        std::pair{11, "knows no order that fits"}, std::pair{12, "has no line"}}) {
    try {
      capture_products(*backend, plan_of(72, 200, {rows}));
      FAIL() << rows;
    } catch (const BackendError& error) {
      EXPECT_NE(std::string(error.what()).find(says), std::string::npos) << error.what();
    }
  }
}

TEST_F(ProbeTwin, StandsInTheClassOfWhatItsBookNames) {
  EnginePairs pairs = {{"twin", "t.book"}};
  const auto original = original_of(*parse_engine(pairs, folder_->path()));
  ASSERT_TRUE(original);
  EXPECT_EQ(original->engine, "cublas");
  EXPECT_EQ(original->device, "cuda");
  EXPECT_EQ(original->machine, std::vector<std::string>{"variant=NVIDIA H200"});
  EXPECT_FALSE(original_of(*parse_engine("reference")));
}

TEST(Reveal, TheReferencesTreeIsItsEightSegments) {
  const auto backend = engine("reference", Precision::fp32);
  const auto tree = reveal_product(*backend, plan_of(40, 100, {3}), 3);
  ASSERT_TRUE(tree);
  EXPECT_EQ(text_of(*tree),
            "0 1 .. 11 (12 13 .. 24) (25 26 .. 36 (37 38 .. 49)) (50 51 .. 61 (62 63 .. 74) "
            "(75 76 .. 86 (87 88 .. 99)))");
}

TEST(Reveal, GroupsOfATensorCoreAreTogether) {
  const auto backend = engine("model:sm90", Precision::bf16);
  const auto tree = reveal_product(*backend, plan_of(40, 48, {2}), 2);  // one segment below 64
  ASSERT_TRUE(tree);
  EXPECT_EQ(text_of(*tree), "0 {1 2 .. 15} {16 17 .. 31} {32 33 .. 47}");
}

TEST(Products, TheReferencesOrderIsNoneOfALibrarys) {
  const auto backend = engine("reference", Precision::fp32);
  Capture capture;
  capture.matrices = {capture_products(*backend, plan_of(40, 100, {3}))};
  const auto lines = search_orders(capture, {std::nullopt, {}});
  ASSERT_EQ(lines.size(), 1U);
  EXPECT_EQ(lines[0].evidence, ProductLine::Evidence::open);
}

}  // namespace
}  // namespace isobit::probe
