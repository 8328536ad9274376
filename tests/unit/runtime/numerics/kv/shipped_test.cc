// The groups of quanto and hqq and the tiles of kvarn as shipped, for values made by hand.
#include <gtest/gtest.h>

#include <cmath>
#include <set>
#include <vector>

#include "runtime/numerics/kv/grouped.h"
#include "runtime/numerics/kv/hqq.h"
#include "runtime/numerics/kv/kvarn_shipped.h"
#include "runtime/numerics/kv/quanto.h"

namespace isobit {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

TEST(Grouping, EveryPlaceOnce) {
  using enum Grouping::Along;
  for (const auto along : {neighbours, strided, channel}) {
    const Grouping groups = Grouping::of(along, 4 * 6 * 8, 12, 8);
    std::set<std::int64_t> seen;
    for (std::int64_t g = 0; g < groups.groups; ++g) {
      for (std::int64_t i = 0; i < 12; ++i) seen.insert(groups.place(g, i));
    }
    EXPECT_EQ(seen.size(), 192u);
    EXPECT_EQ(*seen.rbegin(), 191);
  }
  EXPECT_EQ(Grouping::of(neighbours, 192, 12, 8).place(2, 5), 29);
  EXPECT_EQ(Grouping::of(strided, 192, 12, 8).place(2, 5), 5 * 16 + 2);
  EXPECT_EQ(Grouping::of(channel, 192, 12, 8).place(3, 5), (12 + 5) * 8 + 1) << "2 groups each";
}

TEST(ClampedCode, HalvesToEvenAndBounds) {
  EXPECT_EQ(clamped_code(0.5f, 15), 0);
  EXPECT_EQ(clamped_code(1.5f, 15), 2);
  EXPECT_EQ(clamped_code(2.5, 15), 2);
  EXPECT_EQ(clamped_code(2.500001f, 15), 3);
  EXPECT_EQ(clamped_code(14.5f, 15), 14);
  EXPECT_EQ(clamped_code(kInf, 15), 15);
  EXPECT_EQ(clamped_code(-kInf, 3), 0);
  EXPECT_EQ(clamped_code(-0.0f, 3), 0);
  EXPECT_EQ(clamped_code(kNan, 3), 0);
}

template <class T>
QuantoGroup<T> measured(const std::vector<T>& x, Format stored, int bits) {
  return QuantoGroup<T>::measure(stored, bits, std::int64_t(x.size()),
                                 [&](std::int64_t i) { return x[std::size_t(i)]; });
}

TEST(Quanto, RangeCodesAndValues) {
  const std::vector<float> x = {-1.0f, 0.0f, 0.5f, 2.0f};
  const auto group = measured(x, Format::f32, 2);
  EXPECT_EQ(group.scale, 1.0f);
  EXPECT_EQ(group.shift, 1.0f);
  EXPECT_EQ(group.code(0.5f, 2), 2) << "1.5 to even";
  EXPECT_EQ(group.value(2), 1.0f);
  const auto half = measured(std::vector<float>{0.0f, 1.0f}, Format::bf16, 4);
  EXPECT_EQ(half.scale, float_from_bf16(bf16_from_float(1.0f / 15.0f)));
  EXPECT_EQ(half.value(7), round_to(Format::bf16, half.scale * 7.0f));
  EXPECT_EQ(measured(std::vector<double>{0.0, 1.0}, Format::f64, 4).scale, 1.0 / 15.0);
}

TEST(Quanto, GroupsWithoutARangeAndWithoutNumbers) {
  const auto constant = measured(std::vector<float>{3.0f, 3.0f}, Format::fp16, 4);
  EXPECT_EQ(constant.scale, 0.0f);
  EXPECT_EQ(constant.code(3.0f, 4), 0) << "0 / 0";
  EXPECT_EQ(constant.value(0), 3.0f);
  const auto nan = measured(std::vector<float>{3.0f, kNan}, Format::f32, 4);
  EXPECT_TRUE(same_bits(nan.value(nan.code(3.0f, 4)), float_of(0x7fc00000u)));
  const auto open = measured(std::vector<float>{0.0f, kInf}, Format::f32, 4);
  EXPECT_EQ(open.code(0.0f, 4), 0);
  EXPECT_TRUE(is_nan(open.value(0))) << "infinity times 0";
}

TEST(Hqq, MeasuresAsTheOriginal) {
  float scale = 0, zero = 0;
  const auto measure = [&](std::vector<float> x, int top) {
    detail::hqq_measure(
        std::int64_t(x.size()), top, [&](std::int64_t i) { return x[std::size_t(i)]; }, scale,
        zero);
  };
  measure({-1.0f, 2.0f}, 15);
  EXPECT_EQ(scale, (1.0f / 3.0f) * 15.0f);
  EXPECT_EQ(zero, scale);
  measure({1.0f, 1.0f}, 15);
  EXPECT_EQ(scale, 1.0f) << "a range of at most 1e-4";
  EXPECT_EQ(zero, -1.0f);
  measure({0.0f, 0x1.a36e2ep-14f}, 3);
  EXPECT_EQ(scale, 1.0f);
  measure({0.0f, 0.0002f}, 15);
  EXPECT_EQ(scale, 20000.0f) << "the largest";
  measure({kNan, 0.0f}, 15);
  EXPECT_TRUE(is_nan(scale) && is_nan(zero));
}

TEST(Hqq, ShrinksErrors) {
  EXPECT_EQ(detail::hqq_shrunk(0.0f), 0.0f);
  EXPECT_EQ(detail::hqq_shrunk(0.1f), 0.0f) << "0.1 * 0.1^-0.3 is 0.1995";
  EXPECT_NEAR(double(detail::hqq_shrunk(1.0f)), 0.9, 1e-7);
  EXPECT_NEAR(double(detail::hqq_shrunk(-2.0f)), -(2.0 - 0.1 * std::pow(2.0, -0.3)), 1e-6);
  EXPECT_TRUE(is_nan(detail::hqq_shrunk(kNan)));
}

TEST(Hqq, StopsWhenTheMeanErrorOfTheTensorDoes) {
  std::vector<float> x;
  for (int i = 0; i < 128; ++i) x.push_back(std::sin(float(i * i)));
  const Grouping groups = Grouping::of(Grouping::Along::neighbours, 128, 64, 64);
  const HqqTensor both = hqq_encode(x, groups, 4);
  EXPECT_GE(both.rounds, 2);
  EXPECT_LE(both.rounds, 20);
  for (std::size_t i = 0; i < x.size(); ++i) {
    const float back = (float(both.codes[i]) - both.zero[i / 64]) * both.step[i / 64];
    EXPECT_NEAR(double(back), double(x[i]), 0.08) << i;
  }
  x[100] = kNan;
  EXPECT_EQ(hqq_encode(x, groups, 4).rounds, 1) << "no mean, no second round";
}

TEST(KvarnShipped, TheFp16MatrixIsNotOrthonormal) {
  EXPECT_EQ(kvarn_shipped::fp16_element(64), 0.125f);
  EXPECT_EQ(kvarn_shipped::fp16_element(128), 0x1.6ap-4f) << ".08837890625";
  std::vector<float> x(128, 0.0f), once(128);
  x[3] = 1.0f;
  kvarn_shipped::rotate(x, kvarn_shipped::fp16_element(128), once);
  EXPECT_EQ(once[0], 0x1.6ap-4f);
  EXPECT_EQ(once[1], -0x1.6ap-4f) << "row 1 and 3 share one bit";
  const float element = kvarn_shipped::fp16_element(128);
  EXPECT_NEAR(double(element * element * 128.0f), 0.999786, 1e-6) << "every score shrinks by that";
}

TEST(KvarnShipped, BalancesATile) {
  std::vector<float> x;
  for (int r = 0; r < 16; ++r) {
    for (int c = 0; c < 32; ++c) {
      x.push_back(std::sin(float(r * 37 + c * 11 + 1)) * float(1 + c) * (r == 3 ? 20.0f : 1.0f));
    }
  }
  const auto before = kvarn_shipped::balance(x, 16, 32, 0);
  const auto after = kvarn_shipped::balance(x, 16, 32, 8);
  EXPECT_EQ(before.x, x);
  EXPECT_LT(kvarn_shipped::detail::imbalance(after), 2.5f);
  EXPECT_GT(kvarn_shipped::detail::imbalance(before), 40.0f);
  for (std::size_t i = 0; i < x.size(); ++i) {
    EXPECT_EQ(after.x[i], (x[i] / after.column_scale[i % 32]) / after.row_scale[i / 32]);
  }
}

TEST(KvarnShipped, ARowOfCodes) {
  const std::vector<float> x = {0.0f, 1.0f, 2.0f, 15.0f};
  const auto row = kvarn_shipped::encode_row(x, 2.0f, 4);
  EXPECT_EQ(row.step, 2.0f);
  EXPECT_EQ(row.low, 0.0f);
  EXPECT_EQ(row.codes, (std::vector<std::uint8_t>{0, 1, 2, 15}));
  EXPECT_EQ(kvarn_shipped::value(2, row.step, row.low, 0.5f), 2.0f);
  const auto flat = kvarn_shipped::encode_row(std::vector<float>{7.0f, 7.0f}, 1.0f, 2);
  EXPECT_EQ(flat.codes, (std::vector<std::uint8_t>{0, 0}));
  EXPECT_EQ(flat.low, 7.0f);
}

}  // namespace
}  // namespace isobit
