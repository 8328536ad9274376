// Codes, scales and offsets of the block formats beyond q4_0, q4_1 and q8_0, read out of a panel
// block (block_layout.h) for one register of outputs.
//
// Integer code and exact products: what numerics/blocks.h does for one output is done for a
// register of them, byte for byte. Offsets below are bytes of a block without its 16-bit fields.
// Callers: kernels/simd_blocks.h.
#pragma once

#include <cstring>

#include "runtime/backends/cpu/kernels/block_layout.h"
#include "runtime/backends/cpu/kernels/simd.h"

namespace isobit::cpu::simd {

constexpr int kSharing = 16;  // columns that share scale and offset in every format

template <class V>
struct Scaling {
  typename V::Reg scale, offset;
};

/// c is a column of the block and h = c / 16, everywhere.
template <class V, BlockFormat kFormat>
class BlockCodes {
 public:
  using Reg = typename V::Reg;
  using Bits = typename V::Bits;
  using Ints = typename V::Ints;

  ISOBIT_ALWAYS_INLINE BlockCodes(const char* block, int output)
      : fields_(reinterpret_cast<const std::uint16_t*>(block) + output),
        words_(block + codes_at(kFormat) + output * 4) {}

  ISOBIT_ALWAYS_INLINE Scaling<V> scaling(int h) const {
    const Reg d = V::load_fp16(fields_);
    Reg least = d;  // of the formats that have it
    if constexpr (has_offset(kFormat)) least = V::load_fp16(fields_ + kPanel);
    if constexpr (kFormat == BlockFormat::q5_0 || kFormat == BlockFormat::iq4_nl) {
      return {d, d};
    } else if constexpr (kFormat == BlockFormat::q5_1) {
      return {d, least};
    } else if constexpr (kFormat == BlockFormat::q2_k) {
      const Bits both = byte(h);
      return {d * real((Ints)(both & 15u)), -(least * real((Ints)(both >> 4)))};
    } else if constexpr (kFormat == BlockFormat::q3_k) {
      const Bits low = (byte(96 + h % 8) >> (h / 8 * 4)) & 15u;
      const Bits high = (byte(104 + h % 4) >> (h / 4 * 2)) & 3u;
      return {d * real((Ints)(low | (high << 4)) - 32), d};
    } else if constexpr (kFormat == BlockFormat::q6_k) {
      return {d * real((Ints)(byte(192 + h) << 24) >> 24), d};
    } else if constexpr (kFormat == BlockFormat::iq4_xs) {
      const int p = h / 2;
      const Bits low = (byte(p / 2) >> (p % 2 * 4)) & 15u;
      const Bits high = (field(1) >> (2 * p)) & 3u;
      return {d * real((Ints)(low | (high << 4)) - 32), d};
    } else {
      return k_scaling(h / 2, d, least);
    }
  }

  /// Signed codes of columns c to c + 3, one in each byte. REQUIRES: c is a multiple of 4.
  ISOBIT_ALWAYS_INLINE Bits codes(int c) const {
    const int p = c / kPartColumns, l = c % kPartColumns;
    if constexpr (kFormat == BlockFormat::q5_0) {
      return moved<16>(nibbles(4, l) | fifth_bits(l));
    } else if constexpr (kFormat == BlockFormat::q5_1) {
      return nibbles(4, l) | fifth_bits(l);
    } else if constexpr (kFormat == BlockFormat::q2_k) {
      return (word(16 + p / 4 * 32 + l) >> (p % 4 * 2)) & 0x03030303u;
    } else if constexpr (kFormat == BlockFormat::q3_k) {
      const Bits low = (word(32 + p / 4 * 32 + l) >> (p % 4 * 2)) & 0x03030303u;
      return moved<4>(low | (((word(l) >> p) & 0x01010101u) << 2));
    } else if constexpr (kFormat == BlockFormat::q4_k) {
      return (word(12 + p / 2 * 32 + l) >> (p % 2 * 4)) & 0x0f0f0f0fu;
    } else if constexpr (kFormat == BlockFormat::q5_k) {
      const Bits low = (word(44 + p / 2 * 32 + l) >> (p % 2 * 4)) & 0x0f0f0f0fu;
      return low | (((word(12 + l) >> p) & 0x01010101u) << 4);
    } else if constexpr (kFormat == BlockFormat::q6_k) {
      const int j = p % 4;
      const Bits low = (word(p / 4 * 64 + j % 2 * 32 + l) >> (j / 2 * 4)) & 0x0f0f0f0fu;
      const Bits high = (word(128 + p / 4 * 32 + l) >> (j * 2)) & 0x03030303u;
      return moved<32>(low | (high << 4));
    } else if constexpr (kFormat == BlockFormat::iq4_nl) {
      return V::look_up(kIq4Values, nibbles(0, l));
    } else {
      static_assert(kFormat == BlockFormat::iq4_xs);
      return V::look_up(kIq4Values, nibbles(4 + 16 * p, l));
    }
  }
  /// One of the four.
  ISOBIT_ALWAYS_INLINE static Ints code(Bits four, int i) {
    return (Ints)(four << (24 - 8 * i)) >> 24;
  }

 private:
  ISOBIT_ALWAYS_INLINE static Reg real(Ints x) { return __builtin_convertvector(x, Reg); }

  /// The word that byte `at` of every output's block is in.
  ISOBIT_ALWAYS_INLINE Bits word(int at) const {
    Bits bits;
    std::memcpy(&bits, words_ + at / 4 * kWordBytes, sizeof bits);
    return bits;
  }
  ISOBIT_ALWAYS_INLINE Bits byte(int at) const { return (word(at) >> (at % 4 * 8)) & 255u; }
  ISOBIT_ALWAYS_INLINE Bits field(int index) const {
    typedef std::uint16_t Halves __attribute__((vector_size(V::kWidth * 2)));
    Halves halves;
    std::memcpy(&halves, fields_ + index * kPanel, sizeof halves);
    return __builtin_convertvector(halves, Bits);
  }
  /// Columns l to l + 3 of the 32 in 16 bytes from `at` on: first the low halves, then the high.
  ISOBIT_ALWAYS_INLINE Bits nibbles(int at, int l) const {
    return (word(at + l % 16) >> (l / 16 * 4)) & 0x0f0f0f0fu;
  }
  /// Bits l to l + 3 of the first word, each as bit 4 of a byte: the factor moves bit i to 8 i.
  ISOBIT_ALWAYS_INLINE Bits fifth_bits(int l) const {
    return ((((word(0) >> l) & 15u) * 0x00204081u) & 0x01010101u) << 4;
  }
  /// Each byte, below 64, less `kBy`: nothing is carried from one to the next.
  template <int kBy>
  ISOBIT_ALWAYS_INLINE static Bits moved(Bits bytes) {
    return (bytes + (128u - kBy) * 0x01010101u) ^ 0x80808080u;
  }
  /// Of q4_k and q5_k: six bits each, in 12 bytes.
  ISOBIT_ALWAYS_INLINE Scaling<V> k_scaling(int p, Reg d, Reg least) const {
    Bits scale, smallest;
    if (p < 4) {
      scale = byte(p) & 63u;
      smallest = byte(p + 4) & 63u;
    } else {
      const Bits low = byte(p + 4);
      scale = (low & 15u) | (byte(p - 4) >> 6 << 4);
      smallest = (low >> 4) | (byte(p) >> 6 << 4);
    }
    return {d * real((Ints)scale), -(least * real((Ints)smallest))};
  }
  const std::uint16_t* fields_;
  const char* words_;
};

}  // namespace isobit::cpu::simd
