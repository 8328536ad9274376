// The search: orders that are known are found from their results, and nothing else is.
#include "harness/probe/search.h"

#include <gtest/gtest.h>

namespace isobit::probe {
namespace {

/// What a library of this order would have returned: two draws, results in fp32 or `rounded`.
MatrixCapture captured(const std::string& precision, const std::string& order, std::int64_t n,
                       std::int64_t k, const std::vector<std::int64_t>& rows,
                       std::int64_t first_draw = 0, bool rounded = false) {
  const Mode& mode = mode_of(precision == "bf16"   ? Precision::bf16
                             : precision == "tf32" ? Precision::tf32
                                                   : Precision::fp32);
  Values values(k, mode, rounded);
  MatrixCapture out{precision, n, k, rounded, {}, {}};
  for (const std::int64_t m : rows) {
    for (std::int64_t draw = first_draw; draw < first_draw + 2; ++draw) {
      Call call{m, draw, {}};
      for (const Place& place : kept_places(m, n)) {
        call.bits.push_back(values.bits(*parse_product_order(order), draw, place));
      }
      out.calls.push_back(std::move(call));
    }
  }
  return out;
}

std::vector<ProductLine> found(const MatrixCapture& matrix) {
  Capture capture;
  capture.matrices = {matrix};
  return search_orders(capture, {TensorCore::sm90, {}});
}

TEST(Search, FindsEveryKindOfOrder) {
  for (const auto& [precision, order, k] :
       {std::tuple{"bf16", "sm90", 300}, std::tuple{"bf16", "sm90+slice:128", 300},
        std::tuple{"bf16", "sm90+group:8", 300}, std::tuple{"tf32", "sm90+slice:64", 200},
        std::tuple{"tf32", "fma+deal:1+lanes:32+meet:halves", 600}, std::tuple{"fp32", "fma", 300},
        std::tuple{"fp32", "fma+deal:8+lanes:3+meet:halves", 300},
        std::tuple{"fp32", "fma+deal:1+lanes:16+block:256", 600},
        std::tuple{"fp32", "fma+slice:16+meet:halves", 512}}) {
    const auto lines = found(captured(precision, order, 40, k, {1, 5}));
    ASSERT_EQ(lines.size(), 2U) << order;  // without a library's word each number of rows alone
    for (const ProductLine& line : lines) {
      EXPECT_EQ(line.evidence, ProductLine::Evidence::proved) << order;
      EXPECT_EQ(text_of(line.order), order);
      EXPECT_EQ(line.calls, 2);
      EXPECT_EQ(line.results, 2 * kKeptPlaces);
    }
  }
}

TEST(Search, FindsHowOperandsAreRounded) {
  for (const char* order : {"sm90+operands:tf32", "sm90+slice:64+operands:tf32-away"}) {
    Capture capture;
    capture.matrices = {captured("fp32", order, 40, 200, {5})};
    const auto lines = search_orders(capture, {TensorCore::sm90, {}, true});
    ASSERT_EQ(lines.size(), 1U);
    EXPECT_EQ(lines[0].evidence, ProductLine::Evidence::proved);
    EXPECT_EQ(text_of(lines[0].order), order);
    EXPECT_EQ(found(capture.matrices[0])[0].evidence, ProductLine::Evidence::open);
  }
}

/// 16 bits of a large sum hide in which order it was added: one chain, which is tried first, gives
/// them all. Of a sum that cancels they show what rounding left.
TEST(Search, RoundedResultsShowAnOrderWhereSumsCancel) {
  for (const char* order : {"sm90", "sm90+slice:64", "sm90+slice:96", "sm90+group:8",
                            "sm90+slice:48+meet:halves", "sm90+tile:32"}) {
    const auto plain = found(captured("bf16", order, 40, 300, {5}, 0, true));
    ASSERT_EQ(plain.size(), 1U);
    EXPECT_EQ(text_of(plain[0].order), "sm90") << order;
    const auto lines = found(captured("bf16", order, 40, 300, {5}, kCancellingDraw, true));
    ASSERT_EQ(lines.size(), 1U);
    EXPECT_EQ(lines[0].evidence, ProductLine::Evidence::proved) << order;
    EXPECT_EQ(text_of(lines[0].order), order);
  }
}

TEST(Search, RoundedResultsAreNoneOfFp32) {
  MatrixCapture matrix = captured("bf16", "sm90", 40, 300, {5}, 0, true);
  matrix.rounded = false;
  EXPECT_EQ(found(matrix)[0].evidence, ProductLine::Evidence::open);
}

TEST(Search, OneBitInOneResultIsNoProof) {
  MatrixCapture matrix = captured("fp32", "fma+slice:64", 40, 200, {7});
  ASSERT_EQ(found(matrix)[0].evidence, ProductLine::Evidence::proved);
  matrix.calls[1].bits[30] ^= 1;
  const auto lines = found(matrix);
  ASSERT_EQ(lines.size(), 1U);
  EXPECT_EQ(lines[0].evidence, ProductLine::Evidence::open);
  EXPECT_LT(lines[0].calls, lines[0].results);
}

TEST(Search, RunsOfOneChoiceAndOrderAreOneLine) {
  MatrixCapture matrix = captured("bf16", "sm90", 40, 100, {1, 8, 9, 20});
  matrix.choices = {{1, 8, "kernel a"}, {9, 20, "kernel b"}};
  const auto lines = found(matrix);
  ASSERT_EQ(lines.size(), 1U);
  EXPECT_EQ(lines[0].from_rows, 1);
  EXPECT_EQ(lines[0].to_rows, 20);
  EXPECT_EQ(lines[0].calls, 8);
}

TEST(Search, ARunThatNoOneOrderExplainsFallsApart) {
  MatrixCapture matrix = captured("fp32", "fma", 40, 200, {1});
  for (Call& call : captured("fp32", "fma+slice:64", 40, 200, {8}).calls) {
    matrix.calls.push_back(std::move(call));
  }
  matrix.choices = {{1, 8, "kernel a"}};
  const auto lines = found(matrix);
  ASSERT_EQ(lines.size(), 2U);
  EXPECT_EQ(lines[0].to_rows, 1);
  EXPECT_EQ(text_of(lines[0].order), "fma");
  EXPECT_EQ(lines[1].from_rows, 8);
  EXPECT_EQ(text_of(lines[1].order), "fma+slice:64");
}

TEST(Search, TheLibrarysNumbersAreTriedAsSlices) {
  const auto with = candidates(std::nullopt, Format::f32, 4096, "kernel z77");
  const auto without = candidates(std::nullopt, Format::f32, 4096, "");
  const auto wanted = *parse_product_order("fma+deal:8+lanes:77");
  EXPECT_NE(std::find(with.begin(), with.end(), wanted), with.end());
  EXPECT_EQ(std::find(without.begin(), without.end(), wanted), without.end());
}

TEST(Capture, ReadsBackWhatItWrote) {
  MatrixCapture matrix = captured("fp32", "fma", 40, 64, {3});
  matrix.choices = {{1, 3, "kernel z2 + reduce"}};
  const std::string text = facts_text({{"engine", "cublas"}}) + text_of(matrix);
  const auto capture = parse_capture(text, "c");
  ASSERT_TRUE(capture) << capture.error().text();
  EXPECT_EQ(capture->facts.at("engine"), "cublas");
  ASSERT_EQ(capture->matrices.size(), 1U);
  EXPECT_EQ(text_of(capture->matrices[0]), text_of(matrix));
}

TEST(Capture, AFactSaysThatResultsWereRounded) {
  const std::string matrix = text_of(captured("bf16", "sm90", 40, 64, {3}));
  const auto rounded = [&](const std::string& head) {
    const auto capture = parse_capture(head + matrix, "c");
    EXPECT_TRUE(capture) << (capture ? "" : capture.error().text());
    return capture && capture->matrices.front().rounded;
  };
  EXPECT_FALSE(rounded(facts_text({})));
  EXPECT_FALSE(rounded(facts_text({{"results", "fp32"}})));
  EXPECT_TRUE(rounded(facts_text({{"results", "operand"}})));
  // It is of the matrices behind it.
  const auto both = parse_capture(facts_text({}) + matrix + "fact results operand\n" + matrix, "c");
  ASSERT_TRUE(both) << both.error().text();
  EXPECT_FALSE(both->matrices[0].rounded);
  EXPECT_TRUE(both->matrices[1].rounded);
}

TEST(Capture, DrawsGoTo63) {
  std::string text = facts_text({}) + text_of(captured("fp32", "fma", 40, 64, {3}, 62));
  EXPECT_TRUE(parse_capture(text, "c"));
  text.replace(text.find("call 3 63 "), 10, "call 3 64 ");
  EXPECT_FALSE(parse_capture(text, "c"));
}

TEST(Capture, WhatAnInterruptedProbeLeftEndsWithItsLastWholeMatrix) {
  const std::string one =
      facts_text({{"engine", "cublas"}}) + text_of(captured("fp32", "fma", 40, 64, {3}));
  const std::string two = one + text_of(captured("fp32", "fma", 40, 65, {3}));
  EXPECT_EQ(whole_part(two), two);
  for (const std::size_t lost : {1U, 5U, 100U}) {
    EXPECT_EQ(whole_part(two.substr(0, two.size() - lost)), one) << lost;
  }
  EXPECT_EQ(whole_part(one.substr(0, one.size() - 20)), "");
}

TEST(Capture, SaysTheLineOfAMistake) {
  const std::string head = "isobit capture 1\nmatrix fp32 4 4\n";
  for (const auto& [line, says] :
       {std::pair{"call 1 0 3f80000", "eight hexadecimal digits"},
        std::pair{"call 1 0 3f800000", "has 68 results, this one 1"},
        std::pair{"call 0 0", "M DRAW HEX"}, std::pair{"choice 3 2 x", "FROM TO"},
        std::pair{"matrix fp32 4", "PRECISION N K"},
        std::pair{"matrix fp64 4 4", "unknown precision"},
        std::pair{"matrix fp32 4 4", "has no end"}, std::pair{"end 1", "the matrix has 0 calls"},
        std::pair{"calls", "unknown word \"calls\""}}) {
    const auto capture = parse_capture(head + line + "\n", "c");
    ASSERT_FALSE(capture) << line;
    EXPECT_EQ(capture.error().place, "c:3");
    EXPECT_NE(capture.error().message.find(says), std::string::npos) << capture.error().message;
  }
  EXPECT_FALSE(parse_capture("isobit capture 1\n", "c"));
  EXPECT_FALSE(parse_capture(head, "c"));  // no end
  EXPECT_FALSE(parse_capture("isobit products 1\n", "c"));
}

}  // namespace
}  // namespace isobit::probe
