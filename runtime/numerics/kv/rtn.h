// Round to nearest as a cache codec: groups of n values, each with a scale and a minimum in the
// type of R, then codes of 1 to 8 bits. Along tokens (one channel) or along channels (one
// position). Host and device; NUMERICS.md, "rtn".
#pragma once

#include "runtime/numerics/kv/codec.h"
#include "runtime/numerics/kv/fields.h"
#include "runtime/numerics/kv/kivi.h"
#include "runtime/numerics/kv/packing.h"

namespace isobit {

/// The steps from a group's least value to its largest.
template <class T>
struct RtnSteps {
  T low, step;
  int most;  // 2^bits - 1
  [[nodiscard]] ISOBIT_HD bool finite() const { return is_finite(step) && is_finite(low); }
  /// REQUIRES: finite(), low <= x <= the largest.
  [[nodiscard]] ISOBIT_HD int code_of(T x) const {
    const T y = (x - low) / step;
    return round_half_even(y < T(most) ? y : T(most));
  }
};

/// Steps of n values, `stride` apart. What is no number shows in finite().
template <class T>
ISOBIT_HD inline RtnSteps<T> rtn_steps(const T* x, int n, std::int64_t stride, int bits) {
  T low = x[0], high = x[0];
  for (int i = 1; i < n; ++i) {
    low = min_nan(low, x[i * stride]);
    high = max_nan(high, x[i * stride]);
  }
  low = low + T(0);
  high = high + T(0);
  const int most = (1 << bits) - 1;
  const T step = (high - low) / T(most);
  return {low, step < T(1e-10) ? T(1e-10) : step, most};
}

template <bool kAlongTokens>
struct Rtn {
  ISOBIT_HD explicit Rtn(const KvCodec& codec)
      : stored(codec.stored),
        group(kAlongTokens ? codec.tokens : codec.channels),
        bits(codec.bits),
        bytes(codec.bytes) {}
  [[nodiscard]] ISOBIT_HD int tokens() const { return kAlongTokens ? group : 1; }
  [[nodiscard]] ISOBIT_HD int channels() const { return kAlongTokens ? 1 : group; }
  static KvCodec make(Format stored, int group, int bits) {
    const int field = field_bytes(stored);
    const int fields_of_codes = (group * bits + 8 * field - 1) / (8 * field);
    return {kAlongTokens ? KvCodecKind::rtn_tokens : KvCodecKind::rtn_channels,
            stored,
            kAlongTokens ? group : 1,
            kAlongTokens ? 1 : group,
            (2 + fields_of_codes) * field,
            bits};
  }

  template <class T>
  ISOBIT_HD void encode(const T* x, std::int64_t token_stride, std::int64_t channel_stride,
                        std::uint8_t* tile) const {
    const std::int64_t stride = kAlongTokens ? token_stride : channel_stride;
    const RtnSteps<T> steps = rtn_steps(x, group, stride, bits);
    T scale = T(round_to(stored, steps.step)), low = T(round_to(stored, steps.low));
    const bool codes = steps.finite() && is_finite(scale) && is_finite(low);
    if (!codes) low = scale = canonical_nan(scale);
    store_real(stored, scale, tile);
    store_real(stored, low, tile + field_bytes(stored));
    std::uint8_t* const packed = tile + 2 * field_bytes(stored);
    for (std::uint8_t* byte = packed; byte < tile + bytes; ++byte) *byte = 0;
    for (int i = 0; codes && i < group; ++i) {
      pack_code(packed, i, bits, steps.code_of(x[i * stride]));
    }
  }

  /// A tile that is read: its scale and minimum once, then values.
  template <class T>
  struct Tile {
    const std::uint8_t* codes;
    T scale, low;
    int bits;
    [[nodiscard]] ISOBIT_HD T at(int token, int channel) const {
      return fma_(T(packed_code(codes, kAlongTokens ? token : channel, bits)), scale, low);
    }
  };
  template <class T>
  [[nodiscard]] ISOBIT_HD Tile<T> open(const std::uint8_t* tile) const {
    const int field = field_bytes(stored);
    return {tile + 2 * field, load_real<T>(stored, tile), load_real<T>(stored, tile + field), bits};
  }

 private:
  Format stored;
  int group, bits, bytes;
};

}  // namespace isobit
