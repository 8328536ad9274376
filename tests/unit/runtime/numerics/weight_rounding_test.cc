// The arithmetic of changed weights: unbiased, within its bounds, and drawn by place alone.
#include "runtime/numerics/weight_rounding.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "runtime/numerics/bits.h"
#include "runtime/numerics/weight_text.h"

namespace isobit {
namespace {

WeightChange change_of(const std::string& text) {
  const auto change = parse_weight_change(text);
  ISOBIT_CHECK(change.has_value());
  return *change;
}

std::string error_of(const std::string& text) {
  const auto change = parse_weight_change(text);
  return change ? "no error" : change.error().message;
}

TEST(WeightText, EqualMeaningsHaveOneText) {
  const std::pair<const char*, const char*> kTexts[] = {
      {"stored", "stored"},
      {"rtn:4", "rtn:4"},
      {"granularity:channel+rtn:4", "rtn:4"},
      {"seed:0+bsr:5", "bsr:5"},
      {"seed:7+bsr:5+granularity:tensor", "bsr:5+granularity:tensor+seed:7"},
      {"gaussian:0.10", "gaussian:0.1"},
      {"gaussian:1e-3+seed:2", "gaussian:0.001+seed:2"},
      {"gaussian:0", "gaussian:0"},
  };
  for (const auto& [text, canonical] : kTexts) EXPECT_EQ(change_of(text).text, canonical) << text;
  EXPECT_FALSE(change_of("stored").changes());
  EXPECT_EQ(change_of("bsr:16").bits, 16);
}

TEST(WeightText, MistakesAreNamed) {
  const std::pair<const char*, const char*> kErrors[] = {
      {"bsr:1", "bsr is a whole number from 2 to 16"},
      {"bsr:17", "bsr is a whole number from 2 to 16"},
      {"rtn:", "rtn is a whole number from 2 to 16"},
      {"rtn:4+seed:1", "rtn draws nothing: it has no seed"},
      {"bsr:4+seed:-1", "option seed of bsr is a whole number"},
      {"bsr:4+granularity:row", "option granularity of bsr cannot be \"row\""},
      {"bsr:4+grain:tensor", "unknown option \"grain\" of bsr"},
      {"bsr:4+rtn:4", "weights are changed in one way"},
      {"bsr:4+seed:1+seed:2", "given twice"},
      {"gaussian:-0.1", "gaussian is a deviation from 0"},
      {"gaussian:nan", "gaussian is a deviation from 0"},
      {"gaussian:inf", "gaussian is a deviation from 0"},
      {"gausian:0.1", "did you mean \"gaussian\""},
      {"int4", "known: stored, {bsr: bits}"},
      {"stored:1", "stored weights have no option"},
  };
  for (const auto& [text, part] : kErrors) {
    EXPECT_NE(error_of(text).find(part), std::string::npos) << text << " gave " << error_of(text);
  }
}

/// Mean and mean square of code·Δ − w over 10^7 draws of one row against 0 and f(1 − f)Δ², within
/// four standard errors.
TEST(WeightRounding, StochasticRoundingIsUnbiased) {
  constexpr std::size_t kDraws = 10'000'000;
  constexpr double kSums = kDraws * 0x1p-53;  // relative: what that many fp64 additions may round
  const WeightChange change = change_of("bsr:5+seed:11");
  const float narrow = grid_step(0.3F, 5);
  const double step = double(narrow), n = double(kDraws);
  for (const float w : {0.1234F, -0.0871F, 0.29F, narrow * 3.5F}) {
    std::vector<float> row(kDraws, w);
    change_weights(change, step, {0x1234567890abcdefULL, 5, 0}, row);
    double sum = 0, squares = 0;
    for (const float value : row) {
      const double e = std::nearbyint(double(value) / step) * step - double(w);
      sum += e;
      squares += e * e;
    }
    const double u = double(w) / step, f = u - std::floor(u);
    const double variance = f * (1 - f) * step * step;
    EXPECT_LT(std::abs(sum / n), 4 * std::sqrt(variance / n) + step * kSums) << w;
    // An error is −fΔ or (1 − f)Δ: its fourth moment is f(1 − f)(1 − 3f(1 − f))Δ⁴.
    const double fourth = variance * (1 - 3 * f * (1 - f)) * step * step;
    const double deviation = std::sqrt(std::max(fourth - variance * variance, 0.0) / n);
    EXPECT_LT(std::abs(squares / n - variance), 4 * deviation + variance * kSums) << w;
  }
}

TEST(WeightRounding, AWholeCodeIsNeverMoved) {
  for (const std::uint32_t word : {0u, 1u, 0x80000000u, 0xffffffffu}) {
    for (int code = -15; code <= 15; ++code) EXPECT_EQ(drawn_code(code, 5, word), code);
    EXPECT_EQ(drawn_code(15.0 + 0x1p-30, 5, word), 15);
    EXPECT_EQ(drawn_code(-15.0 - 0x1p-30, 5, word), -15);
  }
  EXPECT_EQ(drawn_code(2.25, 5, 0x3fffffffu), 3);
  EXPECT_EQ(drawn_code(2.25, 5, 0x40000000u), 2);
  EXPECT_EQ(drawn_code(-2.25, 5, 0xbfffffffu), -2);
  EXPECT_EQ(drawn_code(-2.25, 5, 0xc0000000u), -3);
}

TEST(WeightRounding, NearestGoesToEvenAndStaysOnTheGrid) {
  const std::pair<double, int> kCodes[] = {{0.5, 0}, {1.5, 2},   {-0.5, 0},   {-1.5, -2},
                                           {2.5, 2}, {2.51, 3},  {-2.51, -3}, {7.4, 7},
                                           {7.6, 7}, {-7.6, -7}, {0, 0},      {-0.0, 0}};
  for (const auto& [u, code] : kCodes) EXPECT_EQ(nearest_code(u, 4), code) << u;
  EXPECT_EQ(largest_code(4), 7);
  EXPECT_EQ(largest_code(2), 1);
}

/// |code·Δ − w| ≤ Δ/2, where the product rounds once more.
TEST(WeightRounding, NearestIsWithinHalfAStep) {
  for (const int bits : {2, 3, 4, 5, 8, 16}) {
    const WeightChange change = change_of("rtn:" + std::to_string(bits));
    std::vector<float> row(4096);
    for (std::size_t i = 0; i < row.size(); ++i) {
      row[i] = (float(draw24(1, 2, std::uint32_t(i), 3)) * 0x1p-24F - 0.5F) * 0.37F;
    }
    float amax = 0;
    for (const float w : row) amax = std::max(amax, std::abs(w));
    const float step = grid_step(amax, bits);
    std::vector<float> made = row;
    change_weights(change, double(step), {}, made);
    for (std::size_t i = 0; i < row.size(); ++i) {
      const int code = nearest_code(double(row[i]) / double(step), bits);
      EXPECT_EQ(bits_of(made[i]), bits_of(float(code) * step)) << i;
      const double error = std::abs(double(code) * double(step) - double(row[i]));
      // The largest weight may lie half a unit in the last place of Δ beyond the last code.
      EXPECT_LE(error, 0.5 * double(step) * (1 + 0x1p-22)) << bits << ", " << i;
    }
  }
}

/// A row changed at once, and in pieces from anywhere, gives the same bits.
TEST(WeightRounding, DrawsDependOnThePlaceAlone) {
  for (const char* text : {"bsr:4+seed:3", "gaussian:0.2+seed:3", "rtn:4"}) {
    const WeightChange change = change_of(text);
    std::vector<float> row(103);
    for (std::size_t i = 0; i < row.size(); ++i) row[i] = 0.01F * float(i % 17) - 0.07F;
    std::vector<float> whole = row;
    const WeightPlace place{77, 9, 0};
    change_weights(change, 0.02, place, whole);
    for (const std::size_t piece :
         {std::size_t{1}, std::size_t{3}, std::size_t{7}, std::size_t{50}}) {
      std::vector<float> made = row;
      for (std::size_t end = row.size(); end > 0;) {  // the last piece first
        const std::size_t begin = end > piece ? end - piece : 0;
        WeightPlace there = place;
        there.column = std::uint32_t(begin);
        change_weights(change, 0.02, there, std::span(made).subspan(begin, end - begin));
        end = begin;
      }
      for (std::size_t i = 0; i < row.size(); ++i) {
        ASSERT_EQ(bits_of(made[i]), bits_of(whole[i])) << text << ", " << i;
      }
    }
  }
}

TEST(WeightRounding, AnotherSeedRowOrTensorDrawsOtherNumbers) {
  const auto made = [](std::uint64_t seed, const WeightPlace& place) {
    WeightChange change = change_of("bsr:4");
    change.seed = seed;
    std::vector<float> row(256, 0.011F);
    change_weights(change, 0.02, place, row);
    return row;
  };
  const std::vector<float> first = made(0, {1, 1, 0});
  EXPECT_NE(first, made(1, {1, 1, 0}));
  EXPECT_NE(first, made(std::uint64_t{1} << 40, {1, 1, 0}));
  EXPECT_NE(first, made(0, {1, 2, 0}));
  EXPECT_NE(first, made(0, {2, 1, 0}));
  EXPECT_NE(first, made(0, {std::uint64_t{1} << 40, 1, 0}));
  EXPECT_EQ(first, made(0, {1, 1, 0}));
}

TEST(WeightRounding, WithoutAScaleNothingChanges) {
  for (const char* text : {"rtn:4", "bsr:4", "gaussian:0.5"}) {
    std::vector<float> zeros = {0.0F, -0.0F, 0.0F};
    change_weights(change_of(text), 0.0, {}, zeros);
    EXPECT_EQ(bits_of(zeros[0]), bits_of(0.0F)) << text;
    EXPECT_EQ(bits_of(zeros[1]), bits_of(-0.0F)) << text;
  }
}

/// Moments of the noise over 10^6 draws: mean 0, deviation σ times the scale.
TEST(WeightRounding, NoiseHasItsDeviation) {
  constexpr std::size_t kDraws = 1'000'000;
  std::vector<float> row(kDraws, 0.0F);
  change_weights(change_of("gaussian:0.25+seed:4"), 0.5, {9, 9, 0}, row);
  double sum = 0, squares = 0;
  for (const float e : row) {
    sum += double(e);
    squares += double(e) * double(e);
  }
  const double n = double(kDraws), deviation = 0.125;
  EXPECT_LT(std::abs(sum / n), 4 * deviation / std::sqrt(n));
  EXPECT_LT(std::abs(squares / n / (deviation * deviation) - 1), 4 * std::sqrt(2 / n));
}

}  // namespace
}  // namespace isobit
