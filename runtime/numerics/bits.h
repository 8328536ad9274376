// Bit-level truths about fp32 and fp64: the only equality, canonical NaN, finiteness.
// Host and device. Everyone may use it.
#pragma once

#include "runtime/numerics/platform.h"

namespace isobit {

ISOBIT_HD inline std::uint32_t bits_of(float x) {
  return bits_cast<std::uint32_t>(x);
}
ISOBIT_HD inline std::uint64_t bits_of(double x) {
  return bits_cast<std::uint64_t>(x);
}
ISOBIT_HD inline float float_of(std::uint32_t u) {
  return bits_cast<float>(u);
}
ISOBIT_HD inline double double_of(std::uint64_t u) {
  return bits_cast<double>(u);
}

/// The only equality that decides a verdict: sign of zero and NaN payload count.
ISOBIT_HD inline bool same_bits(float a, float b) {
  return bits_of(a) == bits_of(b);
}
ISOBIT_HD inline bool same_bits(double a, double b) {
  return bits_of(a) == bits_of(b);
}

ISOBIT_HD inline bool is_nan(float x) {
  return (bits_of(x) & 0x7fffffffu) > 0x7f800000u;
}
ISOBIT_HD inline bool is_nan(double x) {
  return (bits_of(x) & 0x7fffffffffffffffull) > 0x7ff0000000000000ull;
}
ISOBIT_HD inline bool is_finite(float x) {
  return (bits_of(x) & 0x7f800000u) != 0x7f800000u;
}
ISOBIT_HD inline bool is_finite(double x) {
  return (bits_of(x) & 0x7ff0000000000000ull) != 0x7ff0000000000000ull;
}

ISOBIT_HD inline float canonical_nan(float) {
  return float_of(0x7fc00000u);
}
ISOBIT_HD inline double canonical_nan(double) {
  return double_of(0x7ff8000000000000ull);
}

/// Every store of family F goes through this (NUMERICS.md, rule "Non-finite values").
template <class T>
ISOBIT_HD inline T canonical(T x) {
  return is_nan(x) ? canonical_nan(x) : x;
}

/// max that propagates NaN; of +0 and -0 the first argument is kept unless b is greater.
template <class T>
ISOBIT_HD inline T max_nan(T a, T b) {
  if (is_nan(a) || is_nan(b)) return canonical_nan(a);
  return b > a ? b : a;
}
/// min that propagates NaN; of +0 and -0 the first argument is kept unless b is less.
template <class T>
ISOBIT_HD inline T min_nan(T a, T b) {
  if (is_nan(a) || is_nan(b)) return canonical_nan(a);
  return b < a ? b : a;
}

}  // namespace isobit
