// What a lossy cache does to a single value on its way in: bits cut off, or noise that multiplies
// (Shebel 2025). Host and device; NUMERICS.md, "bits" and "noise".
#pragma once

#include "runtime/numerics/formats.h"
#include "runtime/numerics/functions.h"
#include "runtime/numerics/precision.h"
#include "runtime/numerics/random.h"

namespace isobit {

/// A change of values, the same for every layer, head and position but for what is drawn.
struct KvChange {
  enum class Kind : std::uint8_t { none, bits, uniform, normal, lognormal };
  Kind kind = Kind::none;
  Format stored = Format::f32;  // R of the values
  std::int32_t bits = 0;        // of the fraction that stay
  bool nearest = false;         // bits: to the nearest value, halves to even; else toward zero
  bool keep_sign = false;       // noise: never turns a value's sign
  double a = 0, b = 0;          // uniform: the interval; normal: mean and standard deviation;
                                // lognormal: those of the logarithm of 1 + e
  std::uint64_t seed = 0;
};

/// Which value of the model it is: what a draw depends on, with the channel.
struct KvPlace {
  std::int32_t layer = 0, head = 0;  // head: KV head of the model
  bool keys = true;
};

/// Fraction bits of R: 52, 23, 10 or 7.
ISOBIT_HD constexpr int fraction_bits(Format stored) {
  return stored == Format::f64 ? 52 : stored == Format::bf16 ? 7 : stored == Format::fp16 ? 10 : 23;
}

/// The bits of a value in R without its last `drop` fraction bits. A carry may reach infinity.
template <class U>
ISOBIT_HD inline U without_low_bits(U bits, int drop, bool nearest) {
  const U half = U(U(1) << (drop - 1)), odd = U(bits >> drop & U(1));
  if (nearest) bits = U(bits + half - U(1) + odd);
  return U(bits >> drop << drop);
}

/// x with `change.bits` fraction bits of R's pattern. REQUIRES: x is exact in R.
template <class T>
ISOBIT_HD inline T with_fewer_bits(const KvChange& change, T x) {
  const int drop = fraction_bits(change.stored) - change.bits;
  if (drop <= 0 || !is_finite(x)) return canonical(x);
  const bool nearest = change.nearest;
  switch (change.stored) {
    case Format::f64:
      return T(double_of(without_low_bits(bits_of(double(x)), drop, nearest)));
    case Format::bf16:
      return T(float_from_bf16(without_low_bits(bf16_from_float(float(x)), drop, nearest)));
    case Format::fp16:
      return T(float_from_fp16(without_low_bits(fp16_from_float(float(x)), drop, nearest)));
    default:
      return T(float_of(without_low_bits(bits_of(float(x)), drop, nearest)));
  }
}

/// Errors of mean 0 and this standard deviation that turn no sign: 1 + e is log-normal.
inline void set_lognormal(KvChange& change, double deviation) {
  const double variance = log_(1.0 + deviation * deviation);  // of its logarithm
  change.kind = KvChange::Kind::lognormal;
  change.a = -0.5 * variance;
  change.b = sqrt_(variance);
  change.keep_sign = true;
}

/// The error that multiplies one value, drawn by what the value is.
ISOBIT_HD inline double noise_of(const KvChange& change, const KvPlace& place,
                                 std::int64_t position, std::int32_t channel) {
  const PhiloxBlock out =
      philox4x32({{std::uint32_t(2 * place.layer + (place.keys ? 0 : 1)), std::uint32_t(place.head),
                   std::uint32_t(position), std::uint32_t(channel)}},
                 change.seed);
  constexpr double kUnit = 0x1p-24;
  const double u = double(2u * (out.word[0] >> 9) + 1u) * kUnit;
  double e;
  if (change.kind == KvChange::Kind::uniform) {
    e = change.a + (change.b - change.a) * u;
  } else {
    const double v = double(2u * (out.word[1] >> 9) + 1u) * kUnit;
    const double radius = sqrt_(-2.0 * log_(u));
    e = change.a + change.b * (radius * cos_(0x1.921fb54442d18p+2 * v));
    if (change.kind == KvChange::Kind::lognormal) e = exp_(e) - 1.0;
  }
  constexpr double kLeast = -1.0 + 0x1p-24;  // the least fp32 above -1
  return change.keep_sign && e < kLeast ? kLeast : e;
}

/// R(x + x * e), e rounded to Real; x itself where e is 0.
template <class T>
ISOBIT_HD inline T with_noise(const KvChange& change, const KvPlace& place, std::int64_t position,
                              std::int32_t channel, T x) {
  const T e = T(noise_of(change, place, position, channel));
  if (e == T(0)) return canonical(x);
  const T product = x * e;
  return T(round_to(change.stored, x + product));
}

/// What is kept of a value. REQUIRES: x is exact in R.
template <class T>
ISOBIT_HD inline T changed(const KvChange& change, const KvPlace& place, std::int64_t position,
                           std::int32_t channel, T x) {
  if (change.kind == KvChange::Kind::bits) return with_fewer_bits(change, x);
  return with_noise(change, place, position, channel, x);
}

}  // namespace isobit
