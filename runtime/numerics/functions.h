// exp, silu, gelu in fp32 and exp, log, sin, cos, tanh, erf in fp64: frozen sequences of IEEE
// operations, no libm, the same bits on every host and device. NUMERICS.md lists every constant;
// errors against MPFR are measured by tests/conformance/functions_test.cc and written there.
#pragma once

#include "runtime/numerics/bits.h"

namespace isobit {

/// 2^n for n in [-126, 127] (fp32), [-1022, 1023] (fp64).
ISOBIT_HD inline float pow2_float(int n) {
  return float_of(std::uint32_t(n + 127) << 23);
}
ISOBIT_HD inline double pow2_double(int n) {
  return double_of(std::uint64_t(std::int64_t(n) + 1023) << 52);
}

/// exp(x), at most 1.0086 ulp over all 2^32 inputs (MPFR). Cody-Waite reduction by ln 2 in two fp32
/// parts, then 1 + (r + r*r*q(r)), q of degree 4, then two exact scalings.
ISOBIT_HD inline float exp_(float x) {
  if (is_nan(x)) return canonical_nan(x);
  if (x > 89.0f) return float_of(0x7f800000u);
  if (x < -104.0f) return 0.0f;
  const float t = fma_(x, 0x1.715476p+0f, 0x1.8p+23f);
  const float n = t - 0x1.8p+23f;
  float r = fma_(n, -0x1.62e430p-1f, x);
  r = fma_(n, 0x1.05c610p-29f, r);
  float q = 0x1.6a2466p-10f;
  q = fma_(q, r, 0x1.1239e2p-7f);
  q = fma_(q, r, 0x1.5558f2p-5f);
  q = fma_(q, r, 0x1.555492p-3f);
  q = fma_(q, r, 0x1.fffffcp-2f);
  const float p = 1.0f + fma_(r * r, q, r);
  const int e = int(n);
  const int half = e >> 1;
  return (p * pow2_float(half)) * pow2_float(e - half);
}

/// exp(x), fp64. Taylor to degree 13 after the same reduction.
ISOBIT_HD inline double exp_(double x) {
  if (is_nan(x)) return canonical_nan(x);
  if (x > 710.0) return double_of(0x7ff0000000000000ull);
  if (x < -746.0) return 0.0;
  const double t = fma_(x, 0x1.71547652b82fep+0, 0x1.8p+52);
  const double n = t - 0x1.8p+52;
  double r = fma_(n, -0x1.62e42fefa39efp-1, x);
  r = fma_(n, -0x1.abc9e3b39803fp-56, r);
  double q = 0x1.6124613a86d09p-33;
  q = fma_(q, r, 0x1.1eed8eff8d898p-29);
  q = fma_(q, r, 0x1.ae64567f544e4p-26);
  q = fma_(q, r, 0x1.27e4fb7789f5cp-22);
  q = fma_(q, r, 0x1.71de3a556c734p-19);
  q = fma_(q, r, 0x1.a01a01a01a01ap-16);
  q = fma_(q, r, 0x1.a01a01a01a01ap-13);
  q = fma_(q, r, 0x1.6c16c16c16c17p-10);
  q = fma_(q, r, 0x1.1111111111111p-7);
  q = fma_(q, r, 0x1.5555555555555p-5);
  q = fma_(q, r, 0x1.5555555555555p-3);
  q = fma_(q, r, 0x1p-1);
  const double p = 1.0 + fma_(r * r, q, r);
  const int e = int(n);
  const int half = e >> 1;
  return (p * pow2_double(half)) * pow2_double(e - half);
}

/// Natural logarithm, fp64; log(0) = -inf, log(negative) = NaN.
/// x = 2^k * m, m in [sqrt(1/2), sqrt(2)); f = m - 1, s = f / (2 + f), series in s^2.
ISOBIT_HD inline double log_(double x) {
  if (is_nan(x) || x < 0.0) return canonical_nan(x);
  if (x == 0.0) return double_of(0xfff0000000000000ull);
  if (!is_finite(x)) return x;
  int k = 0;
  if (x < 0x1p-1022) {
    x = x * 0x1p+54;
    k = -54;
  }
  const std::uint64_t u = bits_of(x);
  k += int(u >> 52) - 1023;
  double m = double_of((u & 0x000fffffffffffffull) | 0x3ff0000000000000ull);
  if (m >= 0x1.6a09e667f3bcdp+0) {
    m = m * 0.5;
    k += 1;
  }
  const double f = m - 1.0;
  const double s = f / (2.0 + f);
  const double z = s * s;
  double w = 0x1.642c8590b2164p-4;
  w = fma_(w, z, 0x1.8618618618618p-4);
  w = fma_(w, z, 0x1.af286bca1af28p-4);
  w = fma_(w, z, 0x1.e1e1e1e1e1e1ep-4);
  w = fma_(w, z, 0x1.1111111111111p-3);
  w = fma_(w, z, 0x1.3b13b13b13b14p-3);
  w = fma_(w, z, 0x1.745d1745d1746p-3);
  w = fma_(w, z, 0x1.c71c71c71c71cp-3);
  w = fma_(w, z, 0x1.2492492492492p-2);
  w = fma_(w, z, 0x1.999999999999ap-2);
  w = fma_(w, z, 0x1.5555555555555p-1);
  w = w * z;
  const double h = (0.5 * f) * f;
  const double kd = double(k);
  const double low = fma_(s, h + w, kd * -0x1.718432a1b0e26p-35);
  return kd * 0x1.62e42ff000000p-1 - ((h - low) - f);
}

namespace detail {

/// x = n*pi/2 + (r + t), |r| <= pi/4; gives n mod 4. REQUIRES: |x| < 2^30.
/// pi/2 in three parts: x minus n times the first is exact, the second product and difference are
/// carried with their errors, so that r keeps its last bit where x is next to a multiple.
ISOBIT_HD inline int reduce_half_pi(double x, double& r, double& t) {
  const double n = fma_(x, 0x1.45f306dc9c883p-1, 0x1.8p+52) - 0x1.8p+52;
  const double a = fma_(-n, 0x1.921fb54442d18p+0, x);
  const double p = n * 0x1.1a62633145c07p-54;
  const double p_error = fma_(n, 0x1.1a62633145c07p-54, -p);
  const double d = a - p;
  const double b = d - a;
  const double d_error = (a - (d - b)) - (p + b);
  const double tail = fma_(-n, -0x1.f1976b7ed8fbcp-110, d_error - p_error);
  r = d + tail;
  t = (d - r) + tail;
  return int(std::int64_t(n) & 3);
}
ISOBIT_HD inline double sin_kernel(double r, double t) {
  const double z = r * r;
  double s = 0x1.952c77030ad4ap-49;
  s = fma_(s, z, -0x1.ae7f3e733b81fp-41);
  s = fma_(s, z, 0x1.6124613a86d09p-33);
  s = fma_(s, z, -0x1.ae64567f544e4p-26);
  s = fma_(s, z, 0x1.71de3a556c734p-19);
  s = fma_(s, z, -0x1.a01a01a01a01ap-13);
  s = fma_(s, z, 0x1.1111111111111p-7);
  s = fma_(s, z, -0x1.5555555555555p-3);
  const double tail = fma_(-0.5 * z, t, t);
  return r + fma_(r * z, s, tail);
}
ISOBIT_HD inline double cos_kernel(double r, double t) {
  const double z = r * r;
  double c = 0x1.ae7f3e733b81fp-45;
  c = fma_(c, z, -0x1.93974a8c07c9dp-37);
  c = fma_(c, z, 0x1.1eed8eff8d898p-29);
  c = fma_(c, z, -0x1.27e4fb7789f5cp-22);
  c = fma_(c, z, 0x1.a01a01a01a01ap-16);
  c = fma_(c, z, -0x1.6c16c16c16c17p-10);
  c = fma_(c, z, 0x1.5555555555555p-5);
  const double h = 0.5 * z;
  const double w = 1.0 - h;
  return w + (((1.0 - w) - h) + fma_(z * z, c, -r * t));
}

}  // namespace detail

/// sin(x), fp64, for |x| < 2^30; NaN beyond (no angle of a position comes near).
ISOBIT_HD inline double sin_(double x) {
  if (!(x < 0x1p+30 && x > -0x1p+30)) return canonical_nan(x);
  double r, t;
  switch (detail::reduce_half_pi(x, r, t)) {
    case 0:
      return detail::sin_kernel(r, t);
    case 1:
      return detail::cos_kernel(r, t);
    case 2:
      return -detail::sin_kernel(r, t);
    default:
      return -detail::cos_kernel(r, t);
  }
}
/// cos(x), fp64, for |x| < 2^30; NaN beyond.
ISOBIT_HD inline double cos_(double x) {
  if (!(x < 0x1p+30 && x > -0x1p+30)) return canonical_nan(x);
  double r, t;
  switch (detail::reduce_half_pi(x, r, t)) {
    case 0:
      return detail::cos_kernel(r, t);
    case 1:
      return -detail::sin_kernel(r, t);
    case 2:
      return -detail::cos_kernel(r, t);
    default:
      return detail::sin_kernel(r, t);
  }
}

/// tanh(x), fp64: expm1 by Taylor to degree 18 where 2|x| < 0.7, else 1 - 2/(exp(2|x|)+1).
ISOBIT_HD inline double tanh_(double x) {
  if (is_nan(x)) return canonical_nan(x);
  const bool negative = (bits_of(x) >> 63) != 0;
  const double a = negative ? -x : x;
  const double u = a + a;
  double y;
  if (u < 0.7) {
    double q = 0x1.6827863b97d97p-53;
    q = fma_(q, u, 0x1.952c77030ad4ap-49);
    q = fma_(q, u, 0x1.ae7f3e733b81fp-45);
    q = fma_(q, u, 0x1.ae7f3e733b81fp-41);
    q = fma_(q, u, 0x1.93974a8c07c9dp-37);
    q = fma_(q, u, 0x1.6124613a86d09p-33);
    q = fma_(q, u, 0x1.1eed8eff8d898p-29);
    q = fma_(q, u, 0x1.ae64567f544e4p-26);
    q = fma_(q, u, 0x1.27e4fb7789f5cp-22);
    q = fma_(q, u, 0x1.71de3a556c734p-19);
    q = fma_(q, u, 0x1.a01a01a01a01ap-16);
    q = fma_(q, u, 0x1.a01a01a01a01ap-13);
    q = fma_(q, u, 0x1.6c16c16c16c17p-10);
    q = fma_(q, u, 0x1.1111111111111p-7);
    q = fma_(q, u, 0x1.5555555555555p-5);
    q = fma_(q, u, 0x1.5555555555555p-3);
    q = fma_(q, u, 0x1p-1);
    const double e = fma_(u * u, q, u);
    y = e / (e + 2.0);
  } else {
    y = a > 22.0 ? 1.0 : 1.0 - 2.0 / (exp_(u) + 1.0);
  }
  return negative ? -y : y;
}

/// erf(x), fp64: 2/sqrt(pi) x exp(-x^2) sum (2x^2)^n/(2n+1)!! below 1.8, a continued fraction of
/// erfc up to 6, 1 beyond. exp and the sum take the same rounded x^2: their product hardly changes
/// with it.
ISOBIT_HD inline double erf_(double x) {
  if (is_nan(x)) return canonical_nan(x);
  const bool negative = (bits_of(x) >> 63) != 0;
  const double a = negative ? -x : x;
  double y = 1.0;
  if (a < 6.0) {
    const double h = a * a;
    const double gauss = exp_(-h);
    if (a < 1.8) {
      const double t = h + h;
      double sum = 1.0;
      for (int n = 60; n >= 1; --n) sum = fma_(t / double(2 * n + 1), sum, 1.0);
      y = ((0x1.20dd750429b6dp+0 * a) * gauss) * sum;
    } else {
      double f = a;
      for (int n = 60; n >= 1; --n) f = a + (0.5 * double(n)) / f;
      y = 1.0 - (0x1.20dd750429b6dp-1 * gauss) / f;
    }
  }
  return negative ? -y : y;
}

/// x / (1 + exp(-x))
template <class T>
ISOBIT_HD inline T silu_(T x) {
  return canonical(x / (T(1) + exp_(-x)));
}

/// gelu with the tanh formula, written through exp:
/// x / (1 + exp(-2u)), 2u = (2 sqrt(2/pi) x) * (1 + 0.044715 x^2).
ISOBIT_HD inline float gelu_tanh_(float x) {
  const float u2 = (0x1.988454p+0f * x) * fma_(0x1.6e4e26p-5f, x * x, 1.0f);
  return canonical(x / (1.0f + exp_(-u2)));
}
ISOBIT_HD inline double gelu_tanh_(double x) {
  const double u2 = (0x1.9884533d43651p+0 * x) * fma_(0x1.6e4e26d4801f7p-5, x * x, 1.0);
  return canonical(x / (1.0 + exp_(-u2)));
}

/// exp(-(2i/d) log(base)) for i in [0, d/2): RoPE's inverse frequencies before scaling.
ISOBIT_HD inline double rope_inv_freq(int i, int d, double base) {
  return exp_(-(double(2 * i) / double(d)) * log_(base));
}

}  // namespace isobit
