// Narrowing and widening between fp32 and bf16, fp16, tf32, e4m3, e5m2: integer code, round to
// nearest even, the same text on host and device. fp16 and bf16 overflow to infinity, e4m3 and
// e5m2 saturate. NaN becomes the format's canonical NaN. Proved exhaustively over all 2^32 inputs
// (tests/conformance). No hardware conversion that flushes subnormals is ever used.
#pragma once

#include "runtime/numerics/bits.h"
#include "runtime/numerics/precision.h"

namespace isobit {

ISOBIT_HD inline std::uint16_t bf16_from_float(float x) {
  const std::uint32_t u = bits_of(x);
  if (is_nan(x)) return 0x7fc0;
  return std::uint16_t((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
}
ISOBIT_HD inline float float_from_bf16(std::uint16_t h) {
  return float_of(std::uint32_t(h) << 16);
}

/// Rounds |x|'s significand to an IEEE-like format with `mantissa` fraction bits and exponent
/// bias `bias`; gives the magnitude's bits, which may overflow past the largest finite value.
/// REQUIRES: x is not NaN.
ISOBIT_HD inline std::uint32_t narrow_magnitude(float x, int mantissa, int bias) {
  const std::uint32_t u = bits_of(x) & 0x7fffffffu;
  const int exponent = int(u >> 23) - 127 + bias;  // in the target, 0 and below: subnormal
  if (exponent >= 1) {
    const int drop = 23 - mantissa;
    const std::uint32_t rebased = u - (std::uint32_t(127 - bias) << 23);
    const std::uint32_t half = (1u << (drop - 1)) - 1u + ((rebased >> drop) & 1u);
    return (rebased + half) >> drop;
  }
  if ((u >> 23) == 0) return 0;                   // fp32 subnormals are far below every target
  const int drop = 23 - mantissa + 1 - exponent;  // extra shift below the smallest normal
  if (drop > 24) return 0;
  const std::uint32_t significand = (u & 0x7fffffu) | 0x800000u;
  const std::uint32_t kept = significand >> drop;
  const std::uint32_t rest = significand & ((1u << drop) - 1u);
  const std::uint32_t half = 1u << (drop - 1);
  return kept + ((rest > half || (rest == half && (kept & 1u))) ? 1u : 0u);
}

ISOBIT_HD inline std::uint16_t fp16_from_float(float x) {
  if (is_nan(x)) return 0x7e00;
  const std::uint16_t sign = std::uint16_t((bits_of(x) >> 16) & 0x8000u);
  const std::uint32_t m = is_finite(x) ? narrow_magnitude(x, 10, 15) : 0x7c00u;
  return std::uint16_t(sign | (m > 0x7c00u ? 0x7c00u : m));
}
ISOBIT_HD inline std::uint8_t e4m3_from_float(float x) {
  if (is_nan(x)) return 0x7f;
  const std::uint8_t sign = std::uint8_t((bits_of(x) >> 24) & 0x80u);
  const std::uint32_t m = is_finite(x) ? narrow_magnitude(x, 3, 7) : 0x7eu;
  return std::uint8_t(sign | (m > 0x7eu ? 0x7eu : m));
}
ISOBIT_HD inline std::uint8_t e5m2_from_float(float x) {
  if (is_nan(x)) return 0x7e;
  const std::uint8_t sign = std::uint8_t((bits_of(x) >> 24) & 0x80u);
  const std::uint32_t m = is_finite(x) ? narrow_magnitude(x, 2, 15) : 0x7bu;
  return std::uint8_t(sign | (m > 0x7bu ? 0x7bu : m));
}

/// Value of an IEEE-like magnitude with `mantissa` fraction bits; exact. No inf or NaN here.
ISOBIT_HD inline float widen_magnitude(std::uint32_t m, int mantissa, int bias) {
  const std::uint32_t exponent = m >> mantissa;
  const std::uint32_t fraction = m & ((1u << mantissa) - 1u);
  if (exponent == 0) {  // subnormal: fraction * 2^(1 - bias - mantissa), exact in fp32
    return float(fraction) * float_of(std::uint32_t(127 + 1 - bias - mantissa) << 23);
  }
  return float_of(((exponent + std::uint32_t(127 - bias)) << 23) | (fraction << (23 - mantissa)));
}
ISOBIT_HD inline float with_sign(float magnitude, bool negative) {
  return float_of(bits_of(magnitude) | (negative ? 0x80000000u : 0u));
}
ISOBIT_HD inline float float_from_fp16(std::uint16_t h) {
  const std::uint32_t m = h & 0x7fffu;
  if (m > 0x7c00u) return float_of(0x7fc00000u);
  if (m == 0x7c00u) return with_sign(float_of(0x7f800000u), h & 0x8000u);
  return with_sign(widen_magnitude(m, 10, 15), h & 0x8000u);
}
ISOBIT_HD inline float float_from_e4m3(std::uint8_t b) {
  if ((b & 0x7fu) == 0x7fu) return float_of(0x7fc00000u);
  return with_sign(widen_magnitude(b & 0x7fu, 3, 7), b & 0x80u);
}
ISOBIT_HD inline float float_from_e5m2(std::uint8_t b) {
  const std::uint32_t m = b & 0x7fu;
  if (m > 0x7cu) return float_of(0x7fc00000u);
  if (m == 0x7cu) return with_sign(float_of(0x7f800000u), b & 0x80u);
  return with_sign(widen_magnitude(m, 2, 15), b & 0x80u);
}

/// tf32: fp32 with 10 fraction bits kept, to nearest even. Subnormals keep fp32's exponent range.
ISOBIT_HD inline float round_tf32(float x) {
  if (is_nan(x)) return canonical_nan(x);
  const std::uint32_t u = bits_of(x);
  return float_of((u + 0xfffu + ((u >> 13) & 1u)) & ~0x1fffu);
}

/// R of NUMERICS.md: rounds to a format and gives the value as fp32. f32 (and f64) only
/// canonicalise NaN.
ISOBIT_HD inline float round_to(Format format, float x) {
  switch (format) {
    case Format::bf16:
      return float_from_bf16(bf16_from_float(x));
    case Format::fp16:
      return float_from_fp16(fp16_from_float(x));
    case Format::tf32:
      return round_tf32(x);
    case Format::e4m3:
      return float_from_e4m3(e4m3_from_float(x));
    case Format::e5m2:
      return float_from_e5m2(e5m2_from_float(x));
    default:
      return canonical(x);
  }
}
ISOBIT_HD inline double round_to(Format, double x) {
  return canonical(x);
}

/// Largest finite value of an 8-bit format.
ISOBIT_HD inline float largest_finite(Format format) {
  return format == Format::e4m3 ? 448.0f : 57344.0f;
}

/// The smallest 2^e, e in [-60, 60], with amax / 2^e <= largest finite value; 1 for amax 0.
/// REQUIRES: amax is finite and not negative. (NUMERICS.md, "fp8")
ISOBIT_HD inline float power_of_two_scale(Format format, float amax) {
  if (amax == 0.0f) return 1.0f;
  const float limit = largest_finite(format);
  // amax <= limit * 2^e; both sides scaled by exact powers of two, so the loop is exact.
  int e = -60;
  float scale = float_of(std::uint32_t(127 - 60) << 23);
  while (e < 60 && amax / scale > limit) {
    scale = scale * 2.0f;
    ++e;
  }
  return scale;
}

}  // namespace isobit
