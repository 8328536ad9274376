// Arithmetic of changed weights (NUMERICS.md, "Changed weights"): a symmetric uniform grid of b-bit
// codes with nearest or Bernoulli stochastic rounding (Nam & Lee, "Ex Uno Pluria", NeurIPS 2024,
// arXiv 2411.14860, section 3), and Gaussian noise. Host only: weights are changed when they are
// loaded, and every device gets the same numbers. Callers: model/changed_weights.cc, tests.
#pragma once

#include <cmath>
#include <cstdint>
#include <span>

#include "runtime/numerics/functions.h"
#include "runtime/numerics/random.h"
#include "runtime/numerics/weight_change.h"

namespace isobit {

/// Where a run of weights is: what their draws depend on, besides the seed.
struct WeightPlace {
  std::uint64_t tensor = 0;  // XXH3-64 (seed 0) of the tensor's name
  std::uint32_t row = 0;     // of the whole tensor
  std::uint32_t column = 0;  // of the first weight, in the whole row
};

/// Largest code of b bits: the grid is symmetric, −2^(b−1) is not used.
inline int largest_code(int bits) {
  return (1 << (bits - 1)) - 1;
}

/// The step of the grid of a row or tensor with this largest magnitude, in fp32.
inline float grid_step(float amax, int bits) {
  return amax / float(largest_code(bits));
}

/// The code of u = w / step, both fp64: the nearest integer, halves to even; cut to the grid.
inline int nearest_code(double u, int bits) {
  const double most = double(largest_code(bits));
  const double low = std::floor(u), above = u - low;
  const bool odd = low != 2.0 * std::floor(low / 2.0);
  const bool up = above > 0.5 || (above == 0.5 && odd);
  const double code = low + (up ? 1.0 : 0.0);
  return int(code > most ? most : code < -most ? -most : code);
}

/// ⌊u⌋, or with the probability of u's fraction (rounded to 32 bits) ⌊u⌋ + 1; cut to the grid.
/// `word` is uniform in [0, 2^32).
inline int drawn_code(double u, int bits, std::uint32_t word) {
  const double most = double(largest_code(bits));
  const double low = std::floor(u);
  const double draw = (double(word) + 0.5) * 0x1p-32;
  const double code = low + (draw < u - low ? 1.0 : 0.0);
  return int(code > most ? most : code < -most ? -most : code);
}

/// A standard normal number from two words (Box and Muller 1958), fp64.
inline double normal_of(std::uint32_t first, std::uint32_t second) {
  const double u = double(2u * (first >> 9) + 1u) * 0x1p-24;
  const double v = double(2u * (second >> 9) + 1u) * 0x1p-24;
  return sqrt_(-2.0 * log_(u)) * cos_(0x1.921fb54442d18p+2 * v);
}

/// The Philox block that holds a column's words, `columns` of them sharing one.
inline PhiloxBlock weight_block(const WeightPlace& place, std::uint32_t column,
                                std::uint32_t columns, std::uint64_t seed) {
  return philox4x32({{std::uint32_t(place.tensor), std::uint32_t(place.tensor >> 32), place.row,
                      column / columns}},
                    seed);
}

/// Weights that lie side by side in a row, changed in place. `scale`: rtn and bsr the step, an fp32
/// number; gaussian the root mean square of the row or tensor. 0: nothing is there to change.
/// REQUIRES: a change that changes; finite weights, none beyond the grid by more than rounding.
inline void change_weights(const WeightChange& change, double scale, const WeightPlace& place,
                           std::span<float> w) {
  if (scale == 0.0) return;
  const bool gaussian = change.kind == WeightChange::Kind::gaussian;
  const bool drawn = gaussian || change.kind == WeightChange::Kind::bsr;
  const std::uint32_t shared = gaussian ? 2 : 4;  // columns of a block
  PhiloxBlock block{};
  for (std::size_t i = 0; i < w.size(); ++i) {
    const std::uint32_t column = place.column + std::uint32_t(i);
    const std::uint32_t in_block = column % shared;
    if (drawn && (i == 0 || in_block == 0)) {
      block = weight_block(place, column, shared, change.seed);
    }
    if (gaussian) {
      const double z = normal_of(block.word[2 * in_block], block.word[2 * in_block + 1]);
      w[i] = float(double(w[i]) + (change.sigma * scale) * z);
      continue;
    }
    const double u = double(w[i]) / scale;
    const int code =
        drawn ? drawn_code(u, change.bits, block.word[in_block]) : nearest_code(u, change.bits);
    w[i] = float(code) * float(scale);
  }
}

}  // namespace isobit
