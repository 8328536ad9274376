// ggml's block_iq4_nl as a cache codec: 32 neighbouring channels of one position, an fp16 scale and
// 32 codes of 4 bits, each standing for an entry of a table, by ggml's reference quantiser. Host
// and device; NUMERICS.md, "iq4_nl".
#pragma once

#include "runtime/numerics/blocks.h"
#include "runtime/numerics/kv/ggml_blocks.h"

namespace isobit {

/// kIq4Values without memory: a byte a code.
ISOBIT_HD constexpr int iq4_value(int code) {
  constexpr std::uint64_t kNegative = 0xf6eaddcfbfad9881u, kPositive = 0x7159453526190d01u;
  return std::int8_t((code < 8 ? kNegative : kPositive) >> (code % 8 * 8) & 0xff);
}
static_assert([] {
  for (int code = 0; code < 16; ++code) {
    if (iq4_value(code) != kIq4Values[code]) return false;
  }
  return true;
}());

struct Iq4Nl {
  static constexpr int kZero = 8;         // the code of the least positive entry, 1
  static constexpr float kTiny = 1e-15f;  // a block below it is zero
  ISOBIT_HD explicit Iq4Nl(const KvCodec&) {}
  [[nodiscard]] ISOBIT_HD static constexpr int tokens() { return 1; }
  [[nodiscard]] ISOBIT_HD static constexpr int channels() { return kBlockChannels; }
  static KvCodec make(Format stored) {
    return {KvCodecKind::iq4_nl, stored, tokens(), channels(), 2 + kBlockHalf};
  }

  template <class T>
  ISOBIT_HD void encode(const T* x, std::int64_t, std::int64_t channel_stride,
                        std::uint8_t* tile) const {
    const float largest = largest_of_block(x, channel_stride);
    const bool tiny = (largest < 0.0f ? -largest : largest) < kTiny;
    const float inverse = tiny ? 0.0f : 1.0f / (largest / float(iq4_value(0)));
    // The scale that fits the codes best, each value weighted by its square.
    float dot = 0.0f, norm = 0.0f;
    for (int i = 0; i < kBlockChannels; ++i) {
      const float value = float(x[i * channel_stride]);
      const float q = float(iq4_value(nearest(value * inverse)));
      const float weighted = value * value * q;
      dot = dot + weighted * value;
      norm = norm + weighted * q;
    }
    const float d = tiny ? 0.0f : dot / norm;
    const bool codes = !tiny && is_finite(d);
    store_field(tile, block_scale(d));
    for (int i = 0; i < kBlockHalf; ++i) {
      const auto code = [&](int channel) {
        return codes ? nearest(float(x[channel * channel_stride]) * inverse) : kZero;
      };
      tile[2 + i] = std::uint8_t(code(i) | code(i + kBlockHalf) << 4);
    }
  }

  /// A tile that is read: its scale once, then values.
  template <class T>
  struct Tile {
    const std::uint8_t* nibbles;
    float d;
    [[nodiscard]] ISOBIT_HD T at(int, int channel) const {
      const int code = nibbles[channel % kBlockHalf] >> (channel / kBlockHalf * 4) & 15;
      return T(d * float(iq4_value(code)));
    }
  };
  template <class T>
  [[nodiscard]] ISOBIT_HD Tile<T> open(const std::uint8_t* tile) const {
    return {tile + 2, float_from_fp16(load_field<std::uint16_t>(tile))};
  }

  /// The same, all at once; the product is exact, so that T's is fp32's.
  template <class T>
  [[nodiscard]] GroupView<T> group(const std::uint8_t* tile, std::int8_t* memory) const {
    for (int i = 0; i < kBlockHalf; ++i) {
      memory[i] = kIq4Values[tile[2 + i] & 15];
      memory[i + kBlockHalf] = kIq4Values[tile[2 + i] >> 4];
    }
    return {memory, T(scale_from_fp16(load_field<std::uint16_t>(tile))), T(-0.0)};
  }

 private:
  /// The code whose entry is nearest, the greater one when two are; 15 for a NaN.
  [[nodiscard]] ISOBIT_HD static int nearest(float y) {
    int code = 0;
    while (code < 15) {
      const float below = float(iq4_value(code)), above = float(iq4_value(code + 1));
      if (y - below < above - y) break;
      ++code;
    }
    return code;
  }
};

}  // namespace isobit
