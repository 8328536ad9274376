// One angle of RoPE, and its cosine and sine as the reference makes them (NUMERICS.md, "RoPE").
#pragma once

#include <cstdint>

#include "runtime/numerics/functions.h"

namespace isobit {

/// Of one pair of elements at a position.
struct RopeAngle {
  std::int64_t position = 0, pair = 0, dims = 0;
  double base = 0, frequency = 0;  // frequency: base^(-2 pair / dims), scaled unless `plain`
  double factor = 1;               // of cosine and sine
  bool plain = true;               // frequencies and factor are not scaled
};
struct Turn {
  double cosine = 1, sine = 0;
};

inline Turn reference_turn(const RopeAngle& angle) {
  const double radians = double(angle.position) * angle.frequency;
  return {cos_(radians) * angle.factor, sin_(radians) * angle.factor};
}

}  // namespace isobit
