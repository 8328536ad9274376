// The Hadamard rotation: its matrix, its norm, and that twice is nothing within its rounding.
#include "runtime/numerics/kv/hadamard.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <vector>

namespace isobit {
namespace {

TEST(Hadamard, IsSylvestersMatrix) {
  for (const int n : {1, 2, 4, 16, 64, 256}) {
    for (int column = 0; column<n; column += n> 16 ? 13 : 1) {
      std::vector<double> x(std::size_t(n), 0.0);
      x[std::size_t(column)] = 1.0;
      hadamard(x.data(), n);
      for (int row = 0; row < n; ++row) {
        const double sign = std::popcount(unsigned(row & column)) % 2 == 0 ? 1.0 : -1.0;
        ASSERT_EQ(x[std::size_t(row)], sign * hadamard_scale<double>(n)) << n;
      }
    }
  }
}

/// Each way is one product and log2 n sums, each within half a unit of the largest partial sum.
TEST(Hadamard, TwiceIsTheIdentityWithinItsRounding) {
  for (const int n : {32, 64, 128, 256}) {
    std::vector<float> x;
    for (int i = 0; i < n; ++i) x.push_back(float(std::sin(i * 1.7) * std::exp(i % 7)));
    std::vector<float> y = x;
    hadamard(y.data(), n);
    hadamard(y.data(), n);
    double norm = 0;
    for (const float value : x) norm += double(value) * double(value);
    const double bound = 2 * (1 + std::log2(n)) * 0x1p-24 * std::sqrt(norm) * 2;
    for (int i = 0; i < n; ++i) {
      EXPECT_NEAR(y[std::size_t(i)], x[std::size_t(i)], bound) << n << " " << i;
    }
  }
}

TEST(Hadamard, IsExactWhereTheRootIs) {
  std::vector<float> x = {1, 2, 3, 4};
  hadamard(x.data(), 4);
  EXPECT_EQ(x, (std::vector<float>{5, -1, -2, 0}));
  hadamard(x.data(), 4);
  EXPECT_EQ(x, (std::vector<float>{1, 2, 3, 4}));
}

TEST(Hadamard, NaNIsCanonical) {
  std::vector<float> x(8, 1.0f);
  x[3] = float_of(0xffc12345u);
  hadamard(x.data(), 8);
  for (const float value : x) EXPECT_EQ(bits_of(value), 0x7fc00000u);
}

}  // namespace
}  // namespace isobit
