// Pooling of scores over neighbouring positions, in fp64 (NUMERICS.md, "snapkv"). Callers:
// policies/.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "runtime/numerics/bits.h"

namespace isobit {

/// x[j] = fold(x[j - kernel/2], …, x[j + kernel/2]) of the positions that are there, ascending.
/// REQUIRES: kernel is odd.
template <class Fold>
void pool_neighbours(std::span<double> x, std::int64_t kernel, double start, const Fold& fold) {
  const auto n = std::int64_t(x.size()), half = kernel / 2;
  const std::vector<double> from(x.begin(), x.end());
  for (std::int64_t j = 0; j < n; ++j) {
    double pooled = start;
    const std::int64_t last = std::min(n - 1, j + half);
    for (std::int64_t i = std::max<std::int64_t>(0, j - half); i <= last; ++i) {
      pooled = fold(pooled, from[std::size_t(i)]);
    }
    x[std::size_t(j)] = pooled;
  }
}

/// The largest neighbour, NaN when one is NaN.
inline void max_pool(std::span<double> x, std::int64_t kernel) {
  pool_neighbours(x, kernel, double_of(0xfff0000000000000ull), max_nan<double>);
}

/// The sum of the neighbours / kernel: positions beyond the ends count as +0.
inline void average_pool(std::span<double> x, std::int64_t kernel) {
  pool_neighbours(x, kernel, 0.0, [](double a, double b) { return a + b; });
  for (double& sum : x) sum = sum / double(kernel);
}

}  // namespace isobit
