// A group as optimum-quanto's MaxOptimizer codes it: an asymmetric range in the model's type, every
// operation rounded to it as torch rounds. NUMERICS.md, "quanto".
#pragma once

#include "runtime/numerics/formats.h"

namespace isobit {

/// x rounded to an integer, halves to even, and cut to [0, top]; 0 for what is no number.
template <class T>
inline int clamped_code(T x, int top) {
  if (is_nan(x) || x <= T(0)) return 0;
  if (x >= T(top)) return top;
  const int whole = int(x);
  const T rest = x - T(whole);
  return whole + (rest > T(0.5) || (rest == T(0.5) && whole % 2 == 1) ? 1 : 0);
}

template <class T>
struct QuantoGroup {
  Format stored = Format::f32;  // R
  T scale = T(0), shift = T(0);

  /// The range of n values, value i being at(i).
  template <class At>
  static QuantoGroup measure(Format stored, int bits, std::int64_t n, const At& at) {
    T low = at(0), high = at(0);
    for (std::int64_t i = 1; i < n; ++i) {
      low = min_nan(low, at(i));
      high = max_nan(high, at(i));
    }
    const T range = T(round_to(stored, high - low));
    return {stored, T(round_to(stored, range / T((1 << bits) - 1))), canonical(-low)};
  }
  [[nodiscard]] int code(T x, int bits) const {
    const T above = T(round_to(stored, x + shift));
    return clamped_code(T(round_to(stored, above / scale)), (1 << bits) - 1);
  }
  [[nodiscard]] T value(int code) const {
    return T(round_to(stored, T(round_to(stored, scale * T(code))) - shift));
  }
};

}  // namespace isobit
