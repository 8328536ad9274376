// Codes of a lossy cache as values, 32 at a time: in the order of the codes, or turned, so that
// keys lie as the exact pools hold them. Integer code is exact; the last step is one fma a value.
// Codecs without a minimum have -0 for it: the fma is then their product, zeros' signs included.
// Callers: simd_split.h, simd_table.h.
#pragma once

#include "runtime/backends/cpu/kernels/simd_elements.h"

namespace isobit::cpu::simd {

/// Codes as V's numbers.
template <class V>
ISOBIT_ALWAYS_INLINE inline typename V::Reg code_register(const std::int8_t* codes) {
  if constexpr (requires { V::load_codes(codes); }) {
    return V::load_codes(codes);
  } else {
    typename V::Reg x;
    for (int i = 0; i < V::kWidth; ++i) x[i] = typename V::T(codes[i]);
    return x;
  }
}

/// Group g: codes 0 to 15 to out + g * stride, codes 16 to 31 to `half` further on.
template <class V>
void decode_rows(const CodeGroups<typename V::T>& groups, typename V::T* out, std::int64_t stride,
                 std::int64_t half) {
  for (int g = 0; g < groups.count; ++g) {
    const typename V::Reg scale = V::set1(groups.scale[g]), low = V::set1(groups.low[g]);
    unroll<kGroupCodes / V::kWidth>([&](auto r) ISOBIT_ALWAYS_INLINE {
      constexpr int i = r * V::kWidth;
      typename V::T* to = out + g * stride + i / kKeyBlock * half + i % kKeyBlock;
      store<V>(to, V::fma(code_register<V>(groups.codes[g] + i), scale, low));
    });
  }
}

/// Bytes in registers of kBytes, which are cut into 16 each for themselves.
template <class V>
struct ByteRegister {
  static constexpr int kBytes = V::kWidth * int(sizeof(typename V::T)) >= 32 ? 32 : 16;
  typedef std::int8_t Reg __attribute__((vector_size(kBytes)));
  static Reg load(const std::int8_t* p) {
    Reg x;
    std::memcpy(&x, p, sizeof x);
    return x;
  }
  /// Each 16 bytes to a place 16 rows of 16 further on.
  static void store_parts(Reg x, std::int8_t* p) {
    typedef std::int8_t Part __attribute__((vector_size(16)));
    unroll<kBytes / 16>([&](auto part) ISOBIT_ALWAYS_INLINE {
      const Part y = [&]<int... I>(std::integer_sequence<int, I...>) ISOBIT_ALWAYS_INLINE {
        return __builtin_shufflevector(x, x, (part * 16 + I)...);
      }
      (std::make_integer_sequence<int, 16>{});
      std::memcpy(p + part * 256, &y, sizeof y);
    });
  }
  /// a0 b0 a1 b1 … of the lower (kFirst 0) or upper (8) half of each 16.
  template <int kFirst>
  static Reg interleave(Reg a, Reg b) {
    return [&]<int... I>(std::integer_sequence<int, I...>) ISOBIT_ALWAYS_INLINE {
      return __builtin_shufflevector(a, b, (I / 16 * 16 + kFirst + I % 16 / 2 + I % 2 * kBytes)...);
    }
    (std::make_integer_sequence<int, kBytes>{});
  }
};

/// 16 rows of 32 codes from `at` on, turned: (32, 16). Four times, rows i and i + 8 interleave to
/// rows 2i and 2i + 1: each time the place of a byte, its row before its column, turns by a bit.
template <class V>
ISOBIT_ALWAYS_INLINE inline void turn_group(const std::int8_t* const* rows, std::int64_t at,
                                            std::int8_t* turned) {
  using Bytes = ByteRegister<V>;
  using Reg = typename Bytes::Reg;
  for (int begin = 0; begin < kGroupCodes; begin += Bytes::kBytes) {
    Reg row[kKeyBlock], next[kKeyBlock];
    unroll<kKeyBlock>([&](auto g)
                          ISOBIT_ALWAYS_INLINE { row[g] = Bytes::load(rows[g] + at + begin); });
    const auto interleave = [](const Reg* from, Reg* to) ISOBIT_ALWAYS_INLINE {
      unroll<kKeyBlock / 2>([&](auto i) ISOBIT_ALWAYS_INLINE {
        to[2 * i] = Bytes::template interleave<0>(from[i], from[i + 8]);
        to[2 * i + 1] = Bytes::template interleave<8>(from[i], from[i + 8]);
      });
    };
    interleave(row, next);
    interleave(next, row);
    interleave(row, next);
    interleave(next, row);
    unroll<kKeyBlock>([&](auto i) ISOBIT_ALWAYS_INLINE {
      Bytes::store_parts(row[i], turned + (begin + i) * kKeyBlock);
    });
  }
}

template <class V>
void turn_codes(const std::int8_t* const* rows, std::int64_t stride, std::int64_t n,
                std::int8_t* out) {
  for (std::int64_t i = 0; i < n; ++i) {
    turn_group<V>(rows, i * stride, out + i * kGroupCodes * kKeyBlock);
  }
}

/// 16 groups: code i of group g to out[16 i + g].
template <class V>
void decode_turned(const CodeGroups<typename V::T>& groups, typename V::T* out) {
  alignas(32) std::int8_t turned[kGroupCodes * kKeyBlock];
  turn_group<V>(groups.codes, 0, turned);
  unroll<kKeyBlock / V::kWidth>([&](auto r) ISOBIT_ALWAYS_INLINE {
    constexpr int lane = r * V::kWidth;
    const typename V::Reg scale = load<V>(groups.scale + lane), low = load<V>(groups.low + lane);
    for (int i = 0; i < kGroupCodes; ++i) {
      store<V>(out + i * kKeyBlock + lane,
               V::fma(code_register<V>(turned + i * kKeyBlock + lane), scale, low));
    }
  });
}

/// n 16-bit elements of a pool, widened.
template <class V>
void widen(const std::uint16_t* x, std::int64_t n, Format format, typename V::T* out) {
  const auto each = [&](const auto& load_register) ISOBIT_ALWAYS_INLINE {
    each_register<V>(n, [&](std::int64_t i, std::int64_t lanes) ISOBIT_ALWAYS_INLINE {
      store<V>(out + i, load_register(x + i, lanes), lanes);
    });
  };
  if (format == Format::bf16) {
    each([](const std::uint16_t* p, std::int64_t lanes)
             ISOBIT_ALWAYS_INLINE { return Halves<V, Format::bf16>::load(p, lanes); });
  } else {
    each([](const std::uint16_t* p, std::int64_t lanes)
             ISOBIT_ALWAYS_INLINE { return Halves<V, Format::fp16>::load(p, lanes); });
  }
}

}  // namespace isobit::cpu::simd
