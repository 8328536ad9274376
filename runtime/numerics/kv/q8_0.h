// ggml's block_q8_0 as a cache codec: 32 neighbouring channels of one position, an fp16 scale and
// 32 signed bytes, by ggml's reference quantiser. Host and device; NUMERICS.md, "q8_0".
#pragma once

#include "runtime/numerics/kv/codec.h"
#include "runtime/numerics/kv/fields.h"
#include "runtime/numerics/kv/groups.h"

namespace isobit {

/// To the nearest integer, halves away from zero. REQUIRES: |y| < 2^23.
ISOBIT_HD inline int round_half_away(float y) {
  const float magnitude = y < 0.0f ? -y : y;
  const int whole = int(magnitude);
  const int n = whole + (magnitude - float(whole) >= 0.5f ? 1 : 0);
  return y < 0.0f ? -n : n;
}

struct Q8_0 {
  static constexpr int kTokens = 1, kChannels = 32;
  ISOBIT_HD explicit Q8_0(const KvCodec&) {}
  [[nodiscard]] ISOBIT_HD static constexpr int tokens() { return kTokens; }
  [[nodiscard]] ISOBIT_HD static constexpr int channels() { return kChannels; }
  static KvCodec make(Format stored) {
    return {KvCodecKind::q8_0, stored, kTokens, kChannels, 2 + kChannels};
  }

  template <class T>
  ISOBIT_HD void encode(const T* x, std::int64_t, std::int64_t channel_stride,
                        std::uint8_t* tile) const {
    float amax = 0.0f;
    for (int i = 0; i < kChannels; ++i) {
      const float value = float(x[i * channel_stride]);
      amax = max_nan(amax, value < 0.0f ? -value : value);
    }
    const float d = amax / 127.0f;
    // A scale that is no number makes every value of the block NaN; one whose inverse overflows is
    // zero as fp16. In both cases there is nothing to code.
    const float inverse = d == 0.0f ? 0.0f : 1.0f / d;
    const bool codes = is_finite(d) && is_finite(inverse);
    store_field(tile, is_finite(d) ? fp16_from_float(d) : std::uint16_t(0x7e00));
    for (int i = 0; i < kChannels; ++i) {
      const int q = codes ? round_half_away(float(x[i * channel_stride]) * inverse) : 0;
      tile[2 + i] = std::uint8_t(q);
    }
  }

  /// A tile that is read: its scale once, then values.
  template <class T>
  struct Tile {
    const std::uint8_t* codes;
    float d;
    [[nodiscard]] ISOBIT_HD T at(int, int channel) const {
      return T(d * float(std::int8_t(codes[channel])));
    }
  };
  template <class T>
  [[nodiscard]] ISOBIT_HD Tile<T> open(const std::uint8_t* tile) const {
    return {tile + 2, float_from_fp16(load_field<std::uint16_t>(tile))};
  }
  /// The same, all at once; the product is exact, so that T's is fp32's. The codes are at kCodesAt.
  static constexpr int kCodesAt = 2;
  template <class T>
  [[nodiscard]] GroupView<T> group(const std::uint8_t* tile, std::int8_t*) const {
    return {reinterpret_cast<const std::int8_t*>(tile + 2),
            T(scale_from_fp16(load_field<std::uint16_t>(tile))), T(-0.0)};
  }
};

}  // namespace isobit
