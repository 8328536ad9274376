// The grid of task vectors: its bits against NumPy's, its bound on any values, what has no grid.
#include "runtime/numerics/uniform_grid.h"

#include <gtest/gtest.h>

#include <bit>
#include <random>
#include <vector>

namespace isobit {
namespace {

std::vector<float> from_bits(const std::vector<std::uint32_t>& bits) {
  std::vector<float> out;
  for (const std::uint32_t each : bits) out.push_back(std::bit_cast<float>(each));
  return out;
}

struct Example {
  int bits;
  std::uint32_t step;
  double offset;
  std::vector<int> codes;
  std::vector<std::uint32_t> values;
};

// Made with NumPy 2.4 from the formulas in NUMERICS.md, "Task vectors": rint and clip in float64.
TEST(UniformGrid, GivesNumPysBits) {
  const std::vector<float> x =
      from_bits({0xbc343958U, 0x3b89a027U, 0x00000000U, 0x3c8f5c29U, 0xbb4b295fU, 0x3c185f07U,
                 0x3c83126fU, 0xbbf27bb3U, 0x3aa137f4U, 0x3c3fb15bU});
  const std::vector<Example> examples = {
      {1,
       0x3ce978d5U,
       0,
       {0, 0, 0, 1, 0, 0, 1, 0, 0, 0},
       {0, 0, 0, 0x3ce978d5U, 0, 0, 0x3ce978d5U, 0, 0, 0}},
      {2,
       0x3c1ba5e3U,
       1,
       {0, 1, 1, 3, 1, 2, 3, 0, 1, 2},
       {0xbc1ba5e3U, 0, 0, 0x3c9ba5e3U, 0, 0x3c1ba5e3U, 0x3c9ba5e3U, 0xbc1ba5e3U, 0, 0x3c1ba5e3U}},
      {3,
       0x3b85699eU,
       3,
       {0, 4, 3, 7, 2, 5, 7, 1, 3, 6},
       {0xbc481e6dU, 0x3b85699eU, 0, 0x3c85699eU, 0xbb85699eU, 0x3c05699eU, 0x3c85699eU,
        0xbc05699eU, 0, 0x3c481e6dU}},
      {8,
       0x38ea6338U,
       98,
       {0, 136, 98, 255, 70, 181, 241, 32, 109, 203},
       {0xbc3373f7U, 0x3b8b2ae9U, 0, 0x3c8fbed9U, 0xbb4d16d1U, 0x3c17fc56U, 0x3c82ed6cU,
        0xbbf1b652U, 0x3aa12436U, 0x3c404564U}}};
  for (const Example& each : examples) {
    const auto grid = uniform_grid(x, each.bits);
    ASSERT_TRUE(grid);
    EXPECT_EQ(std::bit_cast<std::uint32_t>(grid->step), each.step);
    EXPECT_TRUE(grid->offset() == each.offset);
    for (std::size_t i = 0; i < x.size(); ++i) {
      EXPECT_EQ(int(grid->code(x[i])), each.codes[i]) << each.bits << " bits, element " << i;
      EXPECT_EQ(std::bit_cast<std::uint32_t>(grid->value(grid->code(x[i]))), each.values[i]);
    }
  }
}

/// The promise of uniform_grid.h, for one value.
bool within_bound(const UniformGrid& grid, float x) {
  const float value = grid.value(grid.code(x));
  if (grid.step == 0) return std::bit_cast<std::uint32_t>(value) == std::bit_cast<std::uint32_t>(x);
  const double error = std::fabs(double(x) - double(value));
  return error <= double(grid.step) * (0.5 + (grid.codes() - 1) * 0x1p-24) +
                      0x1p-24 * std::fabs(double(value)) + 0x1p-52 * std::fabs(double(x));
}

TEST(UniformGrid, NoValueIsFartherThanHalfAStep) {
  std::mt19937 draw(1503);
  std::int64_t looked_at = 0;
  for (int round = 0; round < 3000; ++round) {
    // Centres from 0 to far outside the range, ranges over 40 powers of two.
    const double range = std::ldexp(1.0, int(draw() % 40) - 30);
    const double centre = range * (draw() % 4 == 0 ? 0.0 : std::ldexp(1.0, int(draw() % 24) - 4));
    std::vector<float> x(2 + draw() % 60);
    for (float& value : x) value = float(centre + range * (double(draw()) / 0x1p32 - 0.5));
    const int bits = 1 + int(draw() % 8);
    const auto grid = uniform_grid(x, bits);
    ASSERT_TRUE(grid) << grid.error().message;
    for (const float value : x) {
      ASSERT_TRUE(within_bound(*grid, value)) << value << " of range " << range << ", " << bits;
      ++looked_at;
    }
  }
  EXPECT_GT(looked_at, 50000);
}

TEST(UniformGrid, MidpointsGoToTheEvenCodeAndTheTopIsClamped) {
  // Step 1; -0.5 / 1 rounds to 0, so z is 0 and 3.5 would be code 4: it is clamped to 3.
  const std::vector<float> x = {-0.5F, 2.5F, 0.5F, 1.5F};
  const auto grid = uniform_grid(x, 2);
  ASSERT_TRUE(grid);
  EXPECT_EQ(std::bit_cast<std::uint32_t>(grid->step), 0x3f800000U);
  EXPECT_EQ(int(grid->code(-0.5F)), 0);
  EXPECT_EQ(int(grid->code(0.5F)), 0);
  EXPECT_EQ(int(grid->code(1.5F)), 2);
  EXPECT_EQ(int(grid->code(2.5F)), 2);
  EXPECT_EQ(int(grid->code(3.5F)), 3);
  EXPECT_EQ(int(grid->code(-7.0F)), 0);
}

TEST(UniformGrid, OneValueIsKeptExactly) {
  const std::vector<float> x(5, -0.1F);
  const auto grid = uniform_grid(x, 2);
  ASSERT_TRUE(grid);
  EXPECT_EQ(int(grid->code(-0.1F)), 0);
  EXPECT_EQ(std::bit_cast<std::uint32_t>(grid->value(0)), std::bit_cast<std::uint32_t>(-0.1F));
}

TEST(UniformGrid, WhatHasNoGridIsAnError) {
  const auto message = [](std::vector<float> x, int bits) {
    const auto grid = uniform_grid(x, bits);
    return grid ? std::string("a grid") : grid.error().message;
  };
  EXPECT_EQ(message({1, INFINITY}, 4), "element 1 is not finite");
  EXPECT_EQ(message({NAN, 1}, 4), "element 0 is not finite");
  EXPECT_NE(message({0, 1e-44F}, 4).find("underflows"), std::string::npos);
  EXPECT_EQ(message({-3e38F, 3e38F}, 1), "the step overflows fp32");
  EXPECT_EQ(message({-1.2e-38F, 1.2e-38F}, 1), "a grid");  // a step just above 2^-126
  EXPECT_NE((UniformGrid{4, -1.0F, 0.0F}).problem(), "");
  EXPECT_NE((UniformGrid{4, 1e-30F, 1.0F}).problem(), "");
  EXPECT_NE((UniformGrid{8, 3e37F, 3e38F}).problem(), "");
  EXPECT_NE((UniformGrid{4, NAN, 0.0F}).problem(), "");
  EXPECT_EQ((UniformGrid{4, 0.0F, 1.0F}).problem(), "");
}

}  // namespace
}  // namespace isobit
