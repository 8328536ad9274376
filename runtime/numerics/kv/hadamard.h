// The Hadamard rotation of a head's channels, Sylvester's order, orthonormal: H(Hx) is x within
// its rounding. Host and device; NUMERICS.md, "Rotation".
#pragma once

#include "runtime/numerics/bits.h"
#include "runtime/numerics/platform.h"

namespace isobit {

/// 1 / sqrt(n). REQUIRES: n is a power of two.
template <class T>
ISOBIT_HD inline T hadamard_scale(int n) {
  return T(1) / T(sqrt_(T(n)));
}

/// Rotates n neighbouring values in place: each times 1/sqrt(n), then sums and differences of
/// values 1, 2, 4, … apart, each rounded once. REQUIRES: n is a power of two.
template <class T>
ISOBIT_HD inline void hadamard(T* x, int n) {
  const T scale = hadamard_scale<T>(n);
  for (int i = 0; i < n; ++i) x[i] = x[i] * scale;
  for (int apart = 1; apart < n; apart *= 2) {
    for (int i = 0; i < n; ++i) {
      if ((i & apart) != 0) continue;
      const T a = x[i], b = x[i + apart];
      x[i] = a + b;
      x[i + apart] = a - b;
    }
  }
  for (int i = 0; i < n; ++i) x[i] = canonical(x[i]);
}

}  // namespace isobit
