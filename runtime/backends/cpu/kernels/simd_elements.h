// What the exact pools hold: Reals, or 16-bit numbers that are widened, exactly, as they are
// loaded. E in simd_attention.h is one of these, or Codes. Callers: simd_decode.h.
#pragma once

#include "runtime/backends/cpu/kernels/simd.h"

namespace isobit::cpu::simd {

template <class Registers>
struct Reals {
  using V = Registers;
  using Stored = typename V::T;
  static typename V::Reg load(const Stored* p) { return simd::load<V>(p); }
  /// The first n lanes, the others zero.
  static typename V::Reg load(const Stored* p, std::int64_t n) { return simd::load<V>(p, n); }
};

template <class Registers, Format kFormat>
struct Halves {
  using V = Registers;
  using Stored = std::uint16_t;
  static typename V::Reg load(const Stored* p) {
    if constexpr (kFormat == Format::bf16) {
      return V::load_bf16(p);
    } else {
      return V::load_fp16(p);
    }
  }
  static typename V::Reg load(const Stored* p, std::int64_t n) {
    if (n >= V::kWidth) return load(p);
    Stored lanes[V::kWidth] = {};
    std::memcpy(lanes, p, std::size_t(n) * sizeof(Stored));
    return load(lanes);
  }
};

}  // namespace isobit::cpu::simd
