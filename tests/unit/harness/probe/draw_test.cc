// Drawn operands: what they depend on, and sums that cancel.
#include "harness/probe/draw.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "runtime/numerics/formats.h"

namespace isobit::probe {
namespace {

double exact_sum(std::span<const float> a, std::span<const float> b) {
  double sum = 0;  // bf16 products have 16 bits; with columns that cancel in pairs it is exact
  const std::size_t half = a.size() / 2;
  for (std::size_t i = 0; i < half; ++i) {
    sum += double(a[i]) * double(b[i]) + double(a[i + half]) * double(b[i + half]);
  }
  return a.size() % 2 == 0 ? sum : sum + double(a.back()) * double(b.back());
}

TEST(Draw, CancellingDrawsHaveAnExactSumOfZero) {
  for (const std::int64_t inputs : {2, 7, 64, 301}) {
    for (const std::int64_t draw : {kCancellingDraw, kCancellingDraw + 1, std::int64_t(63)}) {
      const Operands drawn(draw, inputs, Format::bf16, Format::bf16);
      for (std::int64_t i = 0; i < 5; ++i) {
        EXPECT_EQ(exact_sum(drawn.weights(i), drawn.row(7 * i)), 0) << inputs << " " << draw;
      }
    }
  }
  const Operands plain(0, 64, Format::bf16, Format::bf16);
  EXPECT_NE(exact_sum(plain.weights(0), plain.row(0)), 0);
}

TEST(Draw, TheSecondHalfRepeatsTheFirstWithTheOtherSign) {
  constexpr std::int64_t kInputs = 65;  // the last column has no partner
  const Operands drawn(kCancellingDraw + 1, kInputs, Format::fp16, Format::fp16);
  const auto w = drawn.weights(3), x = drawn.row(4);
  for (std::size_t i = 0; i < 32; ++i) {
    EXPECT_EQ(w[i + 32], -w[i]);
    EXPECT_EQ(x[i + 32], x[i]);
    EXPECT_NE(w[i], 0.0F);
  }
  EXPECT_EQ(w[64], 0.0F);
  EXPECT_EQ(x[64], 0.0F);
  // Columns depend on their place alone, whatever the length.
  const Operands more(kCancellingDraw + 1, 999, Format::fp16, Format::fp16);
  EXPECT_TRUE(std::equal(w.begin(), w.begin() + 32, more.weights(3).begin()));
  EXPECT_TRUE(std::equal(x.begin(), x.begin() + 32, more.row(4).begin()));
}

TEST(Draw, OneInputIsZeroWhereSumsCancel) {
  const Operands drawn(kCancellingDraw, 1, Format::bf16, Format::bf16);
  EXPECT_EQ(drawn.weights(0)[0], 0.0F);
  EXPECT_EQ(drawn.row(0)[0], 0.0F);
}

TEST(Draw, RowsRepeatAfterTheirPeriod) {
  const Operands drawn(3, 16, Format::bf16, Format::f32);
  const auto same = [](std::span<const float> a, std::span<const float> b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end());
  };
  EXPECT_TRUE(same(drawn.weights(5), drawn.weights(5 + kWeightPeriod)));
  EXPECT_TRUE(same(drawn.row(5), drawn.row(5 + kRowPeriod)));
  EXPECT_FALSE(same(drawn.row(5), drawn.row(6)));
  EXPECT_FALSE(same(drawn.row(5), Operands(4, 16, Format::bf16, Format::f32).row(5)));
  for (const float value : drawn.weights(0)) {
    EXPECT_EQ(value, round_to(Format::bf16, value));
  }
}

TEST(Draw, OddDrawsSpreadTheirMagnitudes) {
  const auto range = [](std::int64_t draw) {
    const Operands drawn(draw, 4096, Format::f32, Format::f32);
    float least = 1e9F, most = 0;
    for (const float value : drawn.row(0)) {
      if (value == 0) continue;
      least = std::min(least, std::fabs(value));
      most = std::max(most, std::fabs(value));
    }
    return std::pair(least, most);
  };
  EXPECT_GE(range(1).first, 0x1p-8F);
  EXPECT_LT(range(1).first, 0x1p-7F);
  EXPECT_GE(range(1).second, 0x1p7F);
  EXPECT_LT(range(1).second, 0x1p8F);
  EXPECT_LT(range(0).second, 8.0F);
}

TEST(Draw, AttentionsQueriesAreFourTimesAsLargeInOddDraws) {
  const auto drawn = [](std::int64_t draw, AttentionSide side, std::int64_t first) {
    return attention_rows(draw, side, 2, first, 3, 16, Format::fp16);
  };
  double squares[2] = {0, 0};
  for (const std::int64_t draw : {0, 1}) {
    for (const float value :
         attention_rows(draw, AttentionSide::queries, 0, 0, 64, 64, Format::f32)) {
      squares[draw] += double(value) * double(value);
    }
  }
  EXPECT_GT(squares[1], 12 * squares[0]);
  EXPECT_LT(squares[1], 20 * squares[0]);
  // A row depends on its place alone.
  const auto all = drawn(4, AttentionSide::keys, 0), later = drawn(4, AttentionSide::keys, 2);
  EXPECT_TRUE(std::equal(later.begin(), later.begin() + 16, all.begin() + 32));
  EXPECT_NE(all, drawn(4, AttentionSide::values, 0));
}

}  // namespace
}  // namespace isobit::probe
