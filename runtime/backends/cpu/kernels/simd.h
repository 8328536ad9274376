// The elementwise and row leaves over vectors, written once for every instruction set.
//
// Why the bits are the scalar table's: a lane computes one output element (or one lane of a row
// reduction, or one key) by the same sequence of IEEE operations as numerics/ writes down. Nothing
// is vectorised over a chain's k; where lanes are joined, they are joined in the rule's tree.
// Integer roundings are the same integers; min, max and blends never round. Lanes past the end are
// computed on zeros and thrown away. NaN payloads differ on the way and are canonical at stores.
//
// V is a traits struct in an anonymous namespace (so that everything here gets internal linkage
// and no code of a newer instruction set can leak): see kernels_avx512.cc. Callers: kernels_*.cc.
#pragma once

#include <cstdint>
#include <cstring>
#include <utility>

#include "runtime/backends/cpu/kernels/kernels.h"

#define ISOBIT_ALWAYS_INLINE __attribute__((always_inline))

namespace isobit::cpu::simd {

/// Types of a traits struct: Element in registers of kBytes.
template <class Element, int kBytes>
struct Vector {
  using T = Element;
  using Unsigned = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;
  using Signed = std::make_signed_t<Unsigned>;
  static constexpr int kWidth = kBytes / int(sizeof(T));
  typedef T Reg __attribute__((vector_size(kBytes)));
  typedef Unsigned Bits __attribute__((vector_size(kBytes)));
  typedef Signed Ints __attribute__((vector_size(kBytes)));

  /// a0 b0 a1 b1 … of the lower (upper) halves.
  static Reg interleave_low(Reg a, Reg b) { return interleave<0>(a, b); }
  static Reg interleave_high(Reg a, Reg b) { return interleave<kWidth / 2>(a, b); }

 private:
  template <int kFirst>
  static Reg interleave(Reg a, Reg b) {
    return [&]<int... I>(std::integer_sequence<int, I...>) ISOBIT_ALWAYS_INLINE {
      return __builtin_shufflevector(a, b, (kFirst + I / 2 + I % 2 * kWidth)...);
    }
    (std::make_integer_sequence<int, kWidth>{});
  }
};

/// Calls f(0) … f(N-1) with compile-time indices.
template <int N, class F>
ISOBIT_ALWAYS_INLINE inline void unroll(F&& f) {
  [&]<int... I>(std::integer_sequence<int, I...>) ISOBIT_ALWAYS_INLINE {
    (f(std::integral_constant<int, I>{}), ...);
  }
  (std::make_integer_sequence<int, N>{});
}

template <class V>
inline typename V::Reg load(const typename V::T* p) {
  typename V::Reg x;
  std::memcpy(&x, p, sizeof x);
  return x;
}
template <class V>
inline void store(typename V::T* p, typename V::Reg x) {
  std::memcpy(p, &x, sizeof x);
}
/// The first n lanes, the others zero. 0 < n <= width.
template <class V>
inline typename V::Reg load(const typename V::T* p, std::int64_t n) {
  return n >= V::kWidth ? load<V>(p) : V::load_n(p, int(n));
}
template <class V>
inline void store(typename V::T* p, typename V::Reg x, std::int64_t n) {
  if (n >= V::kWidth) {
    store<V>(p, x);
  } else {
    V::store_n(p, int(n), x);
  }
}

/// sum = fma(a, b, sum), in place where the traits say how: left to itself, g++ moves the sums of
/// a tile from register to register.
template <class V>
ISOBIT_ALWAYS_INLINE inline void accumulate(typename V::Reg& sum, typename V::Reg a,
                                            typename V::Reg b) {
  if constexpr (requires { V::accumulate(sum, a, b); }) {
    V::accumulate(sum, a, b);
  } else {
    sum = V::fma(a, b, sum);
  }
}

template <class V>
inline typename V::Reg from_bits(typename V::Unsigned u) {
  typename V::Bits bits = typename V::Bits{} + u;
  return (typename V::Reg)bits;
}
template <class V>
inline typename V::Reg nan_register() {
  return from_bits<V>(sizeof(typename V::T) == 4 ? typename V::Unsigned(0x7fc00000u)
                                                 : typename V::Unsigned(0x7ff8000000000000ull));
}
template <class V>
inline typename V::Reg infinity_register() {
  return from_bits<V>(sizeof(typename V::T) == 4 ? typename V::Unsigned(0x7f800000u)
                                                 : typename V::Unsigned(0x7ff0000000000000ull));
}
template <class V>
inline typename V::Reg canonical(typename V::Reg x) {
  return x != x ? nan_register<V>() : x;
}
template <class V>
inline typename V::Reg magnitude(typename V::Reg x) {
  return (typename V::Reg)((typename V::Bits)x & (~typename V::Unsigned(0) >> 1));
}

/// R of numerics/formats.h on a register. V::T is float.
template <class V>
inline typename V::Reg round_bf16(typename V::Reg x) {
  const typename V::Bits u = (typename V::Bits)x;
  const typename V::Bits y = (u + 0x7fffu + ((u >> 16) & 1u)) & 0xffff0000u;
  return x != x ? nan_register<V>() : (typename V::Reg)y;
}
template <class V>
inline typename V::Reg round_tf32(typename V::Reg x) {
  const typename V::Bits u = (typename V::Bits)x;
  const typename V::Bits y = (u + 0xfffu + ((u >> 13) & 1u)) & ~0x1fffu;
  return x != x ? nan_register<V>() : (typename V::Reg)y;
}
/// 8-bit formats with kFraction fraction bits; kSmallest is the least normal magnitude. Below it
/// the sum with a number whose last place is the format's unit rounds to nearest even.
template <class V, int kFraction, std::uint32_t kSmallest, std::uint32_t kLargest>
inline typename V::Reg round_8bit(typename V::Reg x) {
  constexpr int kDrop = 23 - kFraction;
  const typename V::Bits sign = (typename V::Bits)x & 0x80000000u;
  const typename V::Reg a = magnitude<V>(x);
  const typename V::Bits u = (typename V::Bits)a;
  const typename V::Bits up = u + ((1u << (kDrop - 1)) - 1u) + ((u >> kDrop) & 1u);
  const typename V::Reg normal = (typename V::Reg)(up & ~((1u << kDrop) - 1u));
  const typename V::Reg unit = from_bits<V>(kSmallest + (std::uint32_t(kDrop) << 23));
  const typename V::Reg subnormal = (a + unit) - unit;
  const typename V::Reg largest = from_bits<V>(kLargest);
  typename V::Reg y = a < from_bits<V>(kSmallest) ? subnormal : normal;
  y = a > largest ? largest : y;
  y = y > largest ? largest : y;
  y = (typename V::Reg)((typename V::Bits)y | sign);
  return x != x ? nan_register<V>() : y;
}

template <class V>
inline typename V::Reg round_register(Format format, typename V::Reg x) {
  if constexpr (sizeof(typename V::T) == 4) {
    switch (format) {
      case Format::bf16:
        return round_bf16<V>(x);
      case Format::fp16:
        return V::round_fp16(x);
      case Format::tf32:
        return round_tf32<V>(x);
      case Format::e4m3:
        return round_8bit<V, 3, 0x3c800000u, 0x43e00000u>(x);
      case Format::e5m2:
        return round_8bit<V, 2, 0x38800000u, 0x47600000u>(x);
      default:
        return canonical<V>(x);
    }
  } else {
    return canonical<V>(x);
  }
}

/// exp_ of numerics/functions.h. Lanes outside the range are computed on garbage and replaced.
template <class V>
inline typename V::Reg exp_register(typename V::Reg x) {
  using Reg = typename V::Reg;
  using Bits = typename V::Bits;
  const auto c = [](typename V::T value) { return V::set1(value); };
  Reg p, t;
  Bits e;
  if constexpr (sizeof(typename V::T) == 4) {
    t = V::fma(x, c(0x1.715476p+0f), c(0x1.8p+23f));
    const Reg n = t - c(0x1.8p+23f);
    Reg r = V::fma(n, c(-0x1.62e430p-1f), x);
    r = V::fma(n, c(0x1.05c610p-29f), r);
    Reg q = c(0x1.6a2466p-10f);
    for (const float k : {0x1.1239e2p-7f, 0x1.5558f2p-5f, 0x1.555492p-3f, 0x1.fffffcp-2f}) {
      q = V::fma(q, r, c(k));
    }
    p = c(1.0f) + V::fma(r * r, q, r);
    e = (Bits)t - 0x4b400000u;  // the bits of 1.5 * 2^23: what is left is the integer n
    const Bits half = (Bits)((typename V::Ints)e >> 1);
    p = (p * (Reg)((half + 127u) << 23)) * (Reg)((e - half + 127u) << 23);
    p = x > c(89.0f) ? infinity_register<V>() : p;
    p = x < c(-104.0f) ? Reg{} : p;
  } else {
    t = V::fma(x, c(0x1.71547652b82fep+0), c(0x1.8p+52));
    const Reg n = t - c(0x1.8p+52);
    Reg r = V::fma(n, c(-0x1.62e42fefa39efp-1), x);
    r = V::fma(n, c(-0x1.abc9e3b39803fp-56), r);
    Reg q = c(0x1.6124613a86d09p-33);
    for (const double k : {0x1.1eed8eff8d898p-29, 0x1.ae64567f544e4p-26, 0x1.27e4fb7789f5cp-22,
                           0x1.71de3a556c734p-19, 0x1.a01a01a01a01ap-16, 0x1.a01a01a01a01ap-13,
                           0x1.6c16c16c16c17p-10, 0x1.1111111111111p-7, 0x1.5555555555555p-5,
                           0x1.5555555555555p-3, 0x1p-1}) {
      q = V::fma(q, r, c(k));
    }
    p = c(1.0) + V::fma(r * r, q, r);
    e = (Bits)t - 0x4338000000000000ull;
    const Bits half = (Bits)((typename V::Ints)e >> 1);
    p = (p * (Reg)((half + 1023u) << 52)) * (Reg)((e - half + 1023u) << 52);
    p = x > c(710.0) ? infinity_register<V>() : p;
    p = x < c(-746.0) ? Reg{} : p;
  }
  return x != x ? nan_register<V>() : p;
}

/// Calls f(i, lanes) for the registers of n elements.
template <class V, class F>
ISOBIT_ALWAYS_INLINE inline void each_register(std::int64_t n, F&& f) {
  std::int64_t i = 0;
  for (; i + V::kWidth <= n; i += V::kWidth) f(i, std::int64_t(V::kWidth));
  if (i < n) f(i, n - i);
}

/// (T) of up to a register of floats: the fp64 table has fp32 scales too.
template <class V>
inline typename V::Reg load_scale(const float* p, std::int64_t n) {
  if constexpr (sizeof(typename V::T) == 4) {
    return load<V>(p, n);
  } else {
    typename V::T wide[V::kWidth] = {};
    for (int i = 0; i < V::kWidth && i < n; ++i) wide[i] = typename V::T(p[i]);
    return load<V>(wide);
  }
}

template <class V>
void finish(const FinishArgs<typename V::T>& args) {
  using T = typename V::T;
  using Reg = typename V::Reg;
  const bool scaled = args.row_scale != nullptr || args.output_scale != nullptr;
  for (std::int64_t r = args.row_begin; r < args.row_end; ++r) {
    const T row_scale = args.row_scale != nullptr ? args.row_scale[r] : T(1);
    each_register<V>(args.n, [&](std::int64_t j, std::int64_t lanes) {
      Reg part[32];
      for (int i = 0; i < args.ranks; ++i) {
        part[i] = load<V>(args.parts[i] + r * args.n + j, lanes);
      }
      for (int m = args.ranks; m > 1; m /= 2) {
        for (int i = 0; i < m / 2; ++i) part[i] = part[2 * i] + part[2 * i + 1];
      }
      Reg y = part[0];
      if (scaled) {
        const Reg output = args.output_scale != nullptr
                               ? load_scale<V>(args.output_scale + j, lanes)
                               : V::set1(T(1));
        y = y * (V::set1(row_scale) * output);
      }
      y = y + Reg{};
      if (args.bias != nullptr) y = y + load<V>(args.bias + j, lanes);
      store<V>(args.out + r * args.n + j, round_register<V>(args.stored, y), lanes);
    });
  }
}

/// Sum of squares in 256 lanes: registers hold neighbouring lanes, so a block of 256 elements is
/// one step of each chain. A tail's absent lanes add +0 to sums that are never -0.
template <class V>
typename V::T sum_of_squares(const typename V::T* x, std::int64_t d) {
  using T = typename V::T;
  using Reg = typename V::Reg;
  constexpr int kLaneCount = 256, kRegisters = kLaneCount / V::kWidth;
  Reg lane[kRegisters] = {};
  for (std::int64_t block = 0; block < d; block += kLaneCount) {
    for (int j = 0; j < kRegisters && block + j * V::kWidth < d; ++j) {
      const std::int64_t at = block + j * V::kWidth;
      const Reg v = load<V>(x + at, d - at);
      lane[j] = V::fma(v, v, lane[j]);
    }
  }
  for (int h = kRegisters / 2; h >= 1; h /= 2) {
    for (int i = 0; i < h; ++i) lane[i] = lane[i] + lane[i + h];
  }
  T last[V::kWidth];
  store<V>(last, lane[0]);
  for (int h = V::kWidth / 2; h >= 1; h /= 2) {
    for (int i = 0; i < h; ++i) last[i] = last[i] + last[i + h];
  }
  return last[0];
}

template <class V>
void rms_norm(const typename V::T* x, const typename V::T* w, typename V::T eps, std::int64_t rows,
              std::int64_t d, Format stored, typename V::T* y) {
  using T = typename V::T;
  using Reg = typename V::Reg;
  for (std::int64_t row = 0; row < rows; ++row) {
    const T* in = x + row * d;
    const T mean = sum_of_squares<V>(in, d) / T(d);
    const Reg r = V::set1(T(1)) / V::sqrt(V::set1(mean + eps));
    each_register<V>(d, [&](std::int64_t i, std::int64_t n) {
      const Reg v = (load<V>(in + i, n) * r) * load<V>(w + i, n);
      store<V>(y + row * d + i, round_register<V>(stored, v), n);
    });
  }
}

template <class V>
void rope(typename V::T* x, std::int64_t rows, std::int64_t heads, int d, int dims,
          const std::int64_t* positions, const typename V::T* cosine, const typename V::T* sine,
          Format stored) {
  using Reg = typename V::Reg;
  const std::int64_t half = dims / 2;
  for (std::int64_t r = 0; r < rows; ++r) {
    const typename V::T* c_row = cosine + positions[r] * half;
    const typename V::T* s_row = sine + positions[r] * half;
    for (std::int64_t h = 0; h < heads; ++h) {
      typename V::T* head = x + (r * heads + h) * d;
      each_register<V>(half, [&](std::int64_t i, std::int64_t n) {
        const Reg c = load<V>(c_row + i, n), s = load<V>(s_row + i, n);
        const Reg x0 = load<V>(head + i, n), x1 = load<V>(head + half + i, n);
        store<V>(head + i, round_register<V>(stored, V::fma(x0, c, -(x1 * s))), n);
        store<V>(head + half + i, round_register<V>(stored, V::fma(x1, c, x0 * s)), n);
      });
    }
  }
}

template <class V>
void gated_silu(const typename V::T* gate, const typename V::T* up, std::int64_t n, Format stored,
                typename V::T* out) {
  using Reg = typename V::Reg;
  each_register<V>(n, [&](std::int64_t i, std::int64_t lanes) {
    const Reg g = load<V>(gate + i, lanes);
    const Reg silu = g / (V::set1(1) + exp_register<V>(-g));
    const Reg y = silu * load<V>(up + i, lanes);
    store<V>(out + i, round_register<V>(stored, y), lanes);
  });
}

template <class V>
void add(typename V::T* h, const typename V::T* y, std::int64_t n, Format stored) {
  each_register<V>(n, [&](std::int64_t i, std::int64_t lanes) {
    const typename V::Reg sum = load<V>(h + i, lanes) + load<V>(y + i, lanes);
    store<V>(h + i, round_register<V>(stored, sum), lanes);
  });
}

template <class V>
void round_all(const typename V::T* x, std::int64_t n, Format format, typename V::T* out) {
  each_register<V>(n, [&](std::int64_t i, std::int64_t lanes) {
    store<V>(out + i, round_register<V>(format, load<V>(x + i, lanes)), lanes);
  });
}

template <class V>
void quantize(const typename V::T* x, std::int64_t rows, std::int64_t k, const typename V::T* scale,
              Format format, typename V::T* out) {
  for (std::int64_t r = 0; r < rows; ++r) {
    const typename V::Reg s = V::set1(scale[r]);
    each_register<V>(k, [&](std::int64_t i, std::int64_t lanes) {
      const typename V::Reg y = load<V>(x + r * k + i, lanes) / s;
      store<V>(out + r * k + i, round_register<V>(format, y), lanes);
    });
  }
}

/// The greatest lane, canonical NaN when `nan` has a lane set.
template <class V>
typename V::T greatest_lane(typename V::Reg m, typename V::Ints nan) {
  typename V::T best = m[0];
  bool any_nan = false;
  for (int i = 0; i < V::kWidth; ++i) {
    best = m[i] > best ? m[i] : best;
    any_nan = any_nan || nan[i] != 0;
  }
  return any_nan ? nan_register<V>()[0] : best;
}

template <class V>
void amax(const typename V::T* x, std::int64_t rows, std::int64_t k, typename V::T* out) {
  using Reg = typename V::Reg;
  for (std::int64_t r = 0; r < rows; ++r) {
    Reg m = Reg{};
    typename V::Ints nan{};
    each_register<V>(k, [&](std::int64_t i, std::int64_t lanes) {
      const Reg a = magnitude<V>(load<V>(x + r * k + i, lanes));
      nan |= (typename V::Ints)(a != a);
      m = a > m ? a : m;
    });
    out[r] = greatest_lane<V>(m, nan);
  }
}

template <class V>
void exp_all(const typename V::T* x, std::int64_t n, typename V::T* y) {
  each_register<V>(n, [&](std::int64_t i, std::int64_t lanes) {
    store<V>(y + i, exp_register<V>(load<V>(x + i, lanes)), lanes);
  });
}

}  // namespace isobit::cpu::simd
