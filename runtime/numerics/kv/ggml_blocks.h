// ggml's blocks of 4 and 5 bits as cache codecs: q4_0 and q5_0 (a scale), q4_1 and q5_1 (a scale
// and a minimum), by ggml's reference quantisers. 32 neighbouring channels of one position. Host
// and device; NUMERICS.md, "q4_0, q4_1, q5_0, q5_1".
#pragma once

#include "runtime/numerics/kv/codec.h"
#include "runtime/numerics/kv/fields.h"
#include "runtime/numerics/kv/groups.h"

namespace isobit {

/// Channels j and j + 16 of a block share byte j: the four low bits of their codes.
constexpr int kBlockChannels = 32, kBlockHalf = 16;

/// fp16 of a block's scale; NaN when it is no number.
ISOBIT_HD inline std::uint16_t block_scale(float d) {
  return is_finite(d) ? fp16_from_float(d) : std::uint16_t(0x7e00);
}
/// 1 / d, +0 where there is none: then every x * inverse is 0. REQUIRES: d is finite.
ISOBIT_HD inline float block_inverse(float d) {
  const float inverse = d == 0.0f ? 0.0f : 1.0f / d;
  return is_finite(inverse) ? inverse : 0.0f;
}

/// The first of a block's values that is largest in magnitude; NaN when one is no number.
template <class T>
ISOBIT_HD inline float largest_of_block(const T* x, std::int64_t stride) {
  float largest = 0.0f, magnitude = 0.0f;
  for (int i = 0; i < kBlockChannels; ++i) {
    const float value = float(x[i * stride]);
    if (!is_finite(value)) return canonical_nan(value);
    const float size = value < 0.0f ? -value : value;
    if (size > magnitude) magnitude = size, largest = value;
  }
  return largest;
}

/// kBits: 4 or 5. kMinimum: codes count up from the least value; else both ways from 0.
template <int kBits, bool kMinimum>
struct GgmlBlock {
  static constexpr int kMost = (1 << kBits) - 1, kZero = kMinimum ? 0 : 1 << (kBits - 1);
  static constexpr int kFifths = kMinimum ? 4 : 2;  // where the fifth bits lie, if there are any
  static constexpr int kNibbles = kFifths + (kBits == 5 ? 4 : 0);
  ISOBIT_HD explicit GgmlBlock(const KvCodec&) {}
  [[nodiscard]] ISOBIT_HD static constexpr int tokens() { return 1; }
  [[nodiscard]] ISOBIT_HD static constexpr int channels() { return kBlockChannels; }
  static KvCodec make(KvCodecKind kind, Format stored) {
    return {kind, stored, tokens(), channels(), kNibbles + kBlockHalf};
  }

  template <class T>
  ISOBIT_HD void encode(const T* x, std::int64_t, std::int64_t channel_stride,
                        std::uint8_t* tile) const {
    float low = 0.0f, d;
    if constexpr (kMinimum) {
      float high = low = float(x[0]);
      for (int i = 1; i < kBlockChannels; ++i) {
        low = min_nan(low, float(x[i * channel_stride]));
        high = max_nan(high, float(x[i * channel_stride]));
      }
      d = (high - low) / float(kMost);
    } else {
      d = largest_of_block(x, channel_stride) / float(-kZero);
    }
    const bool codes = is_finite(d);
    const float inverse = codes ? block_inverse(d) : 0.0f;
    store_field(tile, block_scale(d));
    if constexpr (kMinimum) {
      store_field(tile + 2, codes ? fp16_from_float(low) : std::uint16_t(0x7e00));
    }
    for (int i = kFifths; i < kNibbles + kBlockHalf; ++i) tile[i] = 0;
    for (int i = 0; i < kBlockChannels; ++i) {
      const int code = codes ? code_of(float(x[i * channel_stride]) - low, inverse) : kZero;
      std::uint8_t& nibbles = tile[kNibbles + i % kBlockHalf];
      nibbles = std::uint8_t(nibbles | (code & 15) << (i / kBlockHalf * 4));
      if constexpr (kBits == 5) {
        std::uint8_t& fifths = tile[kFifths + i / 8];
        fifths = std::uint8_t(fifths | code >> 4 << (i % 8));
      }
    }
  }

  /// A tile that is read: its scale and minimum once, then values.
  template <class T>
  struct Tile {
    const std::uint8_t* tile;
    float d, low;
    [[nodiscard]] ISOBIT_HD T at(int, int channel) const {
      int code = tile[kNibbles + channel % kBlockHalf] >> (channel / kBlockHalf * 4) & 15;
      if constexpr (kBits == 5) code |= (tile[kFifths + channel / 8] >> (channel % 8) & 1) << 4;
      if constexpr (!kMinimum) return T(float(code - kZero) * d);
      return T(fma_(float(code), d, low));
    }
  };
  template <class T>
  [[nodiscard]] ISOBIT_HD Tile<T> open(const std::uint8_t* tile) const {
    const float low = kMinimum ? float_from_fp16(load_field<std::uint16_t>(tile + 2)) : 0.0f;
    return {tile, float_from_fp16(load_field<std::uint16_t>(tile)), low};
  }

  /// The same, all at once. A sum is fp32's, so that T is; a product is exact in both.
  template <class T>
  requires(!kMinimum || sizeof(T) == sizeof(float))
      [[nodiscard]] GroupView<T> group(const std::uint8_t* tile, std::int8_t* memory) const {
    for (int i = 0; i < kBlockHalf; ++i) {
      memory[i] = std::int8_t(tile[kNibbles + i] & 15);
      memory[i + kBlockHalf] = std::int8_t(tile[kNibbles + i] >> 4);
    }
    for (int i = 0; kBits == 5 && i < kBlockChannels; ++i) {
      memory[i] = std::int8_t(memory[i] | (tile[kFifths + i / 8] >> (i % 8) & 1) << 4);
    }
    for (int i = 0; i < kBlockChannels; ++i) memory[i] = std::int8_t(memory[i] - kZero);
    const T low = kMinimum ? T(scale_from_fp16(load_field<std::uint16_t>(tile + 2))) : T(-0.0);
    return {memory, T(scale_from_fp16(load_field<std::uint16_t>(tile))), low};
  }

 private:
  /// `above`: the value less the block's minimum. Both sums are at least 0, up to a rounding.
  [[nodiscard]] ISOBIT_HD static int code_of(float above, float inverse) {
    const int code = int(above * inverse + (float(kZero) + 0.5f));
    return code < kMost ? code : kMost;
  }
};

}  // namespace isobit
