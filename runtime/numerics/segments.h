// The bounds of a dot product's segments as a list, for what loads a whole matrix.
#pragma once

#include <vector>

#include "runtime/numerics/order.h"

namespace isobit {

/// Bounds of the segments of k columns, from 0 to k, for a model of so many (NUMERICS.md, "Dot
/// product"). Size: segments + 1.
inline std::vector<std::int64_t> segment_bounds(std::int64_t k, int model_segments) {
  const int segments = segments_of(k, model_segments);
  std::vector<std::int64_t> bounds;
  for (int s = 0; s <= segments; ++s) bounds.push_back(segment_begin(k, s, segments));
  return bounds;
}

}  // namespace isobit
