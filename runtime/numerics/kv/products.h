// Dot products and norms of keys, values and queries, in fp64 and ascending. Callers: policies/ and
// numerics/kv/.
#pragma once

#include <span>

#include "runtime/numerics/functions.h"

namespace isobit {

/// Fused, from +0. REQUIRES: equal lengths.
inline double dot(std::span<const double> a, std::span<const double> b) {
  double sum = 0.0;
  for (std::size_t i = 0; i < a.size(); ++i) sum = fma_(a[i], b[i], sum);
  return sum;
}
inline double norm_of(std::span<const double> a) {
  return sqrt_(dot(a, a));
}

}  // namespace isobit
