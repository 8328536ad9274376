// Distances of rows and bounds of rates, against values that are exact or known.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "harness/judge/compare.h"
#include "runtime/numerics/order.h"

namespace isobit {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

RowDistance distance_between(const std::vector<float>& a, const std::vector<float>& b) {
  return row_distance(std::span<const float>(a), std::span<const float>(b));
}

std::uint64_t ulps(float a, float b) {
  return distance_between({a}, {b}).max_ulp;
}

/// |x - y| ≤ 2^-40 · |y|, for values that go through libm.
bool close(double x, double y) {
  return std::abs(x - y) <= std::ldexp(std::abs(y), -40);
}

TEST(Metrics, EqualRowsAreAtNoDistance) {
  const RowDistance d = distance_between({1, 2, -0.0F}, {1, 2, -0.0F});
  EXPECT_EQ(d.differing, 0);
  EXPECT_EQ(d.first_element, -1);
  EXPECT_EQ(d.first_segment, -1);
  EXPECT_EQ(d.kl, 0);
  EXPECT_EQ(d.argmax_a, 1);
  EXPECT_EQ(severity_of(d), Severity::none);
}

TEST(Metrics, UlpsFollowTheOrderOfValues) {
  EXPECT_EQ(ulps(1.0F, std::nextafter(1.0F, 2.0F)), 1U);
  EXPECT_EQ(ulps(-1.0F, std::nextafter(-1.0F, -2.0F)), 1U);
  EXPECT_EQ(ulps(0.0F, -0.0F), 1U);
  EXPECT_EQ(ulps(std::bit_cast<float>(1U), -std::bit_cast<float>(1U)), 3U);
  EXPECT_EQ(ulps(1.0F, 2.0F), std::uint64_t{1} << 23);
  EXPECT_EQ(ulps(std::numeric_limits<float>::max(), kInf), 1U);
  EXPECT_EQ(ulps(-kInf, kInf), 0xFF000001ULL);
  const std::vector<double> one{1.0}, next{std::nextafter(1.0, 2.0)};
  EXPECT_EQ(row_distance(std::span<const double>(one), std::span<const double>(next)).max_ulp, 1U);
}

TEST(Metrics, TheSignOfZeroIsADifference) {
  const RowDistance d = distance_between({1, 0.0F}, {1, -0.0F});
  EXPECT_EQ(d.differing, 1);
  EXPECT_EQ(d.first_element, 1);
  EXPECT_EQ(d.max_abs, 0);
  EXPECT_EQ(severity_of(d), Severity::bits_only);
}

TEST(Metrics, FirstElementIsPlacedInItsEighth) {
  std::vector<float> a(100, 0.0F);
  a[7] = 5;
  for (int i = 0; i < 100; ++i) {
    std::vector<float> b = a;
    b[std::size_t(i)] += 1;
    const RowDistance d = distance_between(a, b);
    EXPECT_EQ(d.first_element, i);
    ASSERT_GE(d.first_segment, 0);
    EXPECT_LE(segment_begin(100, d.first_segment, 8), i);
    EXPECT_GT(segment_begin(100, d.first_segment + 1, 8), i);
    EXPECT_EQ(d.max_abs, 1);
  }
}

TEST(Metrics, MarginIsTopMinusSecondAndTiesGoToTheLowest) {
  const RowDistance d = distance_between({3, 1, 2.5F}, {2, 2, -1});
  EXPECT_EQ(d.argmax_a, 0);
  EXPECT_EQ(d.margin_a, 0.5);
  EXPECT_EQ(d.argmax_b, 0);
  EXPECT_EQ(d.margin_b, 0);
  EXPECT_EQ(distance_between({-2, -1}, {-1, -2}).argmax_a, 1);
}

TEST(Metrics, DivergencesOfTwoKnownDistributions) {
  // p = (1/2, 1/2), q = (1/4, 3/4) as logits.
  const double l3 = std::log(3.0);
  const std::vector<double> a{0, 0}, b{0, l3};
  const RowDistance d = row_distance(std::span<const double>(a), std::span<const double>(b));
  EXPECT_TRUE(close(d.kl, 0.5 * std::log(2.0) + 0.5 * std::log(2.0 / 3.0))) << d.kl;
  EXPECT_TRUE(close(d.total_variation, 0.25)) << d.total_variation;
  const double js = 0.5 * (0.5 * std::log(0.5 / 0.375) + 0.5 * std::log(0.5 / 0.625)) +
                    0.5 * (0.25 * std::log(0.25 / 0.375) + 0.75 * std::log(0.75 / 0.625));
  EXPECT_TRUE(close(d.js, js)) << d.js;
  const std::vector<double> shifted{1000, 1000 + l3};
  const RowDistance s = row_distance(std::span<const double>(b), std::span<const double>(shifted));
  EXPECT_LT(s.kl, 1e-12) << "a shift of all logits changes no probability";
  EXPECT_EQ(s.max_abs, 1000);
}

TEST(Metrics, DivergencesOfTwoRowsOneUnitApartAreNoRoundingNoise) {
  // p = (1/2, 1/2) and one logit higher by e: KL = e^2 / 8 and JS = e^2 / 32, up to e^3.
  const float next = std::nextafter(1.0F, 2.0F);
  const double e = double(next) - 1;
  const RowDistance d = distance_between({1, 1}, {1, next});
  EXPECT_LT(std::abs(d.kl - e * e / 8), 1e-6 * d.kl) << d.kl;
  EXPECT_LT(std::abs(d.js - e * e / 32), 1e-6 * d.js) << d.js;
}

TEST(Metrics, NonFiniteRowsAreFarAndNeverSafe) {
  for (const float bad : {kNan, kInf}) {
    const RowDistance d = distance_between({1, 2, 3}, {1, bad, 3});
    EXPECT_EQ(d.differing, 1);
    EXPECT_TRUE(std::isinf(d.max_abs));
    EXPECT_TRUE(std::isinf(d.kl));
    EXPECT_EQ(d.total_variation, 1);
    EXPECT_EQ(severity_of(d), Severity::flipped);
    EXPECT_EQ(d.argmax_b, 1);
  }
  const RowDistance same_place = distance_between({1, 2, 3}, {1, 2, kNan});
  EXPECT_EQ(severity_of(same_place), Severity::near_tie);
  const RowDistance masked = distance_between({1, -kInf}, {2, -kInf});
  EXPECT_EQ(masked.kl, 0);
  EXPECT_TRUE(std::isinf(distance_between({1, 1}, {1, -kInf}).kl));
}

TEST(Metrics, SeverityNeedsTheMarginTwiceOnBothSides) {
  RowDistance d;
  d.differing = 1;
  d.argmax_a = d.argmax_b = 3;
  d.max_abs = 0.5;
  d.margin_a = d.margin_b = 1.0;
  EXPECT_EQ(severity_of(d), Severity::near_tie);
  d.margin_a = d.margin_b = 1.0001;
  EXPECT_EQ(severity_of(d), Severity::bits_only);
  d.margin_b = 0.9;
  EXPECT_EQ(severity_of(d), Severity::near_tie);
  d.argmax_b = 4;
  EXPECT_EQ(severity_of(d), Severity::flipped);
}

TEST(Metrics, RateBounds) {
  EXPECT_EQ(rate_upper_bound(0, 0), 1);
  EXPECT_DOUBLE_EQ(rate_upper_bound(0, 1), 0.95);
  EXPECT_DOUBLE_EQ(rate_upper_bound(0, 300), 1 - std::pow(0.05, 1.0 / 300));
  EXPECT_EQ(rate_upper_bound(5, 5), 1);
  // Wilson's limit is the root of (p - x)^2 = z^2 p (1 - p) / n.
  for (const std::int64_t n : {10, 100, 100'000}) {
    for (std::int64_t k = 1; k < n; k = 3 * k + 1) {
      const double p = rate_upper_bound(k, n), x = double(k) / double(n);
      const double z = (p - x) / std::sqrt(p * (1 - p) / double(n));
      EXPECT_LT(std::abs(z - 1.6448536269514722), 1e-9) << k << "/" << n;
      EXPECT_GT(p, rate_upper_bound(k - 1, n));
    }
  }
}

}  // namespace
}  // namespace isobit
