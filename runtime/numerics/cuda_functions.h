// expf, logf, cosf, sinf of CUDA's math library and SiLU on them, bit for bit (NUMERICS.md, "What
// transformers computes"). Literal text; host and device. Read from the PTX that nvcc 13 makes of
// the functions; held against the functions themselves on a GPU by tests/conformance.
#pragma once

#include "runtime/numerics/special_unit.h"

namespace isobit {

/// From this magnitude on cosf and sinf take another way, which is not here.
constexpr float kLargestCudaAngle = 105615.0f;

/// The floor of a + b * c, the exact sum cut down to an fp32 number. REQUIRES: b * c >= 0, below
/// 253, and a = 12582913: one unit of the result's last place is 1.
ISOBIT_HD inline float cuda_floor_sum(float b, float c, float a) {
  const double exact = double(b) * double(c);  // 24 + 8 bits
  return a + float(std::int32_t(exact));       // both whole numbers below 2^24
}

/// expf(x).
ISOBIT_HD inline float cuda_exp(const SpecialTables& t, float x) {
  const float scaled = fma_(x, float_of(0x3bbb989du), 0.5f);
  const float part = !(scaled > 0.0f) ? 0.0f : scaled > 1.0f ? 1.0f : scaled;  // NaN: 0
  const float j = cuda_floor_sum(part, 252.0f, 12582913.0f);
  const float k = j - 12583039.0f;
  const float r = fma_(x, float_of(0x32a57060u), fma_(x, float_of(0x3fb8aa3bu), -k));
  return special_ex2(t, r) * float_of(bits_of(j) << 23);
}

/// cosf(x) where `quarter` is 1, sinf(x) where it is 0. REQUIRES: |x| < kLargestCudaAngle.
ISOBIT_HD inline float cuda_wave(float x, int quarter) {
  const float turns = x * float_of(0x3f22f983u);
  // To nearest even, as the chip's conversion does: |turns| is below 2^17.
  const float n = (turns + 0x1.8p+23f) - 0x1.8p+23f;
  float r = fma_(n, float_of(0xbfc90fdau), x);
  r = fma_(n, float_of(0xb3a22168u), r);
  r = fma_(n, float_of(0xa7c234c5u), r);
  const std::int32_t place = std::int32_t(n) + quarter;
  const bool sine = (place & 1) == 0;
  const float s = r * r, factor = sine ? r : 1.0f;
  float p = sine ? float_of(0xb94d4153u) : fma_(float_of(0x37cbac00u), s, float_of(0xbab607edu));
  p = fma_(p, s, sine ? float_of(0x3c0885e4u) : float_of(0x3d2aaabbu));
  p = fma_(p, s, sine ? float_of(0xbe2aaaa8u) : float_of(0xbeffffffu));
  const float value = fma_(p, fma_(s, factor, 0.0f), factor);
  return (place & 2) == 0 ? value : fma_(value, -1.0f, 0.0f);
}
ISOBIT_HD inline float cuda_cos(float x) {
  return cuda_wave(x, 1);
}
ISOBIT_HD inline float cuda_sin(float x) {
  return cuda_wave(x, 0);
}

/// logf(x). REQUIRES: x is a normal number above 0.
ISOBIT_HD inline float cuda_log(float x) {
  const std::int32_t u = std::int32_t(bits_of(x));
  const std::int32_t whole = (u - 1059760811) & std::int32_t(0xff800000u);
  const float e = fma_(float(whole), 0x1p-23f, 0.0f);
  const float f = float_of(std::uint32_t(u - whole)) - 1.0f;
  float p = fma_(float_of(0xbe055027u), f, float_of(0x3e1039f6u));
  p = fma_(p, f, float_of(0xbdf8cdccu));
  p = fma_(p, f, float_of(0x3e0f2955u));
  p = fma_(p, f, float_of(0xbe2ad8b9u));
  p = fma_(p, f, float_of(0x3e4ced0bu));
  p = fma_(p, f, float_of(0xbe7fff22u));
  p = fma_(p, f, float_of(0x3eaaaa78u));
  p = fma_(p, f, -0.5f);
  return fma_(e, float_of(0x3f317218u), fma_(f * p, f, f));
}

/// PyTorch's silu in fp32: x / (1 + expf(-x)).
ISOBIT_HD inline float cuda_silu(const SpecialTables& t, float x) {
  return x / (1.0f + cuda_exp(t, -x));
}

}  // namespace isobit
