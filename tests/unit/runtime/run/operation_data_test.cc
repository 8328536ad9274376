// Facts of the numbers that operands are drawn from.
#include "runtime/run/operation_data.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <vector>

namespace isobit {
namespace {

constexpr Format kFormats[] = {Format::f64, Format::f32, Format::bf16, Format::fp16};

std::vector<double> drawn(OperandData data, Format format, std::int64_t row = 0,
                          std::size_t columns = 4096, std::uint64_t seed = 0,
                          const std::string& shape = "s", const std::string& role = "x") {
  std::vector<double> out(columns);
  OperandStream(seed, OperationKind::gemm, shape, role).draw(data, format, row, out);
  return out;
}

TEST(OperandData, EveryNumberIsExactInItsFormatAndFinite) {
  for (const Format format : kFormats) {
    for (const OperandData data : {OperandData::random, OperandData::cancelling,
                                   OperandData::subnormal, OperandData::wide}) {
      for (const double v : drawn(data, format)) {
        ASSERT_EQ(in_format(format, v), v) << name_of(data);
        ASSERT_TRUE(std::isfinite(v)) << name_of(data);
        ASSERT_NE(v, 0) << name_of(data);
      }
    }
  }
}

TEST(OperandData, DependsOnWhatItIsAndOnNothingElse) {
  const std::vector<double> usual = drawn(OperandData::random, Format::f32);
  EXPECT_EQ(usual, drawn(OperandData::random, Format::f32));
  EXPECT_NE(usual, drawn(OperandData::random, Format::f32, 1));
  EXPECT_NE(usual, drawn(OperandData::random, Format::f32, 0, 4096, 1));
  EXPECT_NE(usual, drawn(OperandData::random, Format::f32, 0, 4096, 0, "other"));
  EXPECT_NE(usual, drawn(OperandData::random, Format::f32, 0, 4096, 0, "s", "weights"));
  // A shorter row is the beginning of a longer one.
  const std::vector<double> few = drawn(OperandData::random, Format::f32, 0, 7);
  EXPECT_TRUE(std::equal(few.begin(), few.end(), usual.begin()));
}

TEST(OperandData, RandomNumbersFillTheirInterval) {
  double sum = 0, least = 1, most = -1;
  for (const double v : drawn(OperandData::random, Format::f32, 0, 1 << 16)) {
    sum += v;
    least = std::min(least, v), most = std::max(most, v);
  }
  EXPECT_LT(std::abs(sum / (1 << 16)), 0.01);
  EXPECT_LT(least, -0.999);
  EXPECT_GT(most, 0.999);
  EXPECT_LE(most, 1);
}

TEST(OperandData, WideNumbersReallyHaveSixtyBinades) {
  for (const Format format : {Format::f64, Format::f32, Format::bf16}) {
    std::set<int> binades;
    std::set<bool> signs;
    for (const double v : drawn(OperandData::wide, format, 0, 1 << 14)) {
      binades.insert(std::ilogb(v));
      signs.insert(v < 0);
    }
    EXPECT_EQ(*binades.begin(), -30);
    // Rounding to bf16 may carry into one more.
    EXPECT_GE(binades.size(), 60U);
    EXPECT_LE(binades.size(), 61U);
    EXPECT_EQ(signs.size(), 2U);
  }
}

TEST(OperandData, WideNumbersOfFp16LeaveRoomForTheirSum) {
  for (const std::size_t columns : {8U, 300U, 4096U, 16384U}) {
    double sum = 0;
    for (const double v : drawn(OperandData::wide, Format::fp16, 0, columns)) sum += std::abs(v);
    EXPECT_LT(sum, 65504) << columns;
  }
}

TEST(OperandData, CancellingSumsReallyCancel) {
  for (const Format format : kFormats) {
    for (const std::size_t columns : {64U, 577U, 4096U}) {
      const std::vector<double> x = drawn(OperandData::cancelling, format, 3, columns);
      std::vector<double> w(columns);
      OperandStream(0, OperationKind::gemm, "s", "weights").mirrored(format, 5, w);
      // Exact: every product of a pair has its negative, and they meet first.
      double sum = 0, magnitude = 0;
      for (std::size_t j = 0; j < columns; ++j) magnitude += std::abs(x[j] * w[j]);
      for (std::size_t j = 0; j < columns / 2; ++j) {
        sum += x[j] * w[j] + x[columns - 1 - j] * w[columns - 1 - j];
      }
      if (columns % 2 == 1) sum += x[columns / 2] * w[columns / 2];
      EXPECT_GT(magnitude, 1000 * std::abs(sum)) << columns;
      EXPECT_NE(sum, 0);
    }
  }
}

TEST(OperandData, SubnormalNumbersAreBelowTheSmallestNormalOne) {
  const double smallest[] = {0x1p-1022, 0x1p-126, 0x1p-126, 0x1p-14};
  for (std::size_t f = 0; f < std::size(kFormats); ++f) {
    double most = 0;
    for (const double v : drawn(OperandData::subnormal, kFormats[f])) {
      ASSERT_LT(std::abs(v), smallest[f]);
      most = std::max(most, std::abs(v));
    }
    EXPECT_GT(most, kFormats[f] == Format::f64 ? 0 : smallest[f] / 2);
  }
}

TEST(OperandData, NeighboursAreWhatTheirNameSays) {
  const OperandStream stream(0, OperationKind::gemm, "s", "neighbours");
  std::vector<double> out(100), again(100);
  stream.neighbour(Neighbours::zeros, Format::bf16, 0, out);
  EXPECT_EQ(out, std::vector<double>(100, 0.0));
  stream.neighbour(Neighbours::nan, Format::bf16, 0, out);
  for (const double v : out) EXPECT_TRUE(std::isnan(v));
  for (const Format format : kFormats) {
    stream.neighbour(Neighbours::huge, format, 0, out);
    for (const double v : out) {
      ASSERT_TRUE(std::isfinite(v));
      ASSERT_EQ(in_format(format, v), v);
      ASSERT_TRUE(std::isinf(in_format(format, v * 1.01)));
    }
  }
  stream.neighbour(Neighbours::random, Format::f32, 0, out);
  stream.neighbour(Neighbours::random, Format::f32, 1, again);
  EXPECT_NE(out, again);
}

}  // namespace
}  // namespace isobit
