// KIVI's asymmetric groups of 32 as a cache codec: the group's scale and minimum in the type of R,
// then codes of 2 or 4 bits, low bits first. Along tokens for K (a group a channel), along channels
// for V (groups of one token). Host and device; NUMERICS.md, "kivi".
#pragma once

#include "runtime/numerics/kv/codec.h"
#include "runtime/numerics/kv/fields.h"
#include "runtime/numerics/kv/groups.h"

namespace isobit {

/// To the nearest integer, halves to even. REQUIRES: 0 <= y < 2^23.
template <class T>
ISOBIT_HD inline int round_half_even(T y) {
  const int whole = int(y);
  const T rest = y - T(whole);
  return whole + (rest > T(0.5) || (rest == T(0.5) && whole % 2 == 1) ? 1 : 0);
}

template <int kBits, bool kAlongTokens>
struct Kivi {
  static constexpr int kGroup = 32, kLevels = (1 << kBits) - 1;
  ISOBIT_HD explicit Kivi(const KvCodec& codec) : stored(codec.stored) {}
  [[nodiscard]] ISOBIT_HD static constexpr int tokens() { return kAlongTokens ? kGroup : 1; }
  [[nodiscard]] ISOBIT_HD static constexpr int channels() { return kAlongTokens ? 1 : kGroup; }
  static KvCodec make(KvCodecKind kind, Format stored) {
    const int bytes = 2 * field_bytes(stored) + kGroup * kBits / 8;
    return {kind, stored, tokens(), channels(), bytes};
  }

  template <class T>
  ISOBIT_HD void encode(const T* x, std::int64_t token_stride, std::int64_t channel_stride,
                        std::uint8_t* tile) const {
    const std::int64_t stride = kAlongTokens ? token_stride : channel_stride;
    T low = x[0], high = x[0];
    for (int i = 1; i < kGroup; ++i) {
      low = min_nan(low, x[i * stride]);
      high = max_nan(high, x[i * stride]);
    }
    low = low + T(0);
    high = high + T(0);
    T scale = T(round_to(stored, T(round_to(stored, high - low)) / T(kLevels)));
    if (!is_finite(scale)) low = scale = canonical_nan(scale);
    const bool codes = is_finite(scale) && scale != T(0);
    store_real(stored, scale, tile);
    store_real(stored, low, tile + field_bytes(stored));
    std::uint8_t* const packed = tile + 2 * field_bytes(stored);
    constexpr int kPerByte = 8 / kBits;
    for (int byte = 0; byte < kGroup / kPerByte; ++byte) {
      int bits = 0;
      for (int j = 0; j < kPerByte; ++j) {
        const T value = x[(byte * kPerByte + j) * stride];
        bits |= (codes ? code_of(value, low, scale) : 0) << (j * kBits);
      }
      packed[byte] = std::uint8_t(bits);
    }
  }

  /// A tile that is read: its scale and minimum once, then values.
  template <class T>
  struct Tile {
    const std::uint8_t* codes;
    T scale, low;
    [[nodiscard]] ISOBIT_HD T at(int token, int channel) const {
      const int bit = (kAlongTokens ? token : channel) * kBits;
      return fma_(T(codes[bit / 8] >> (bit % 8) & kLevels), scale, low);
    }
  };
  template <class T>
  [[nodiscard]] ISOBIT_HD Tile<T> open(const std::uint8_t* tile) const {
    const int field = field_bytes(stored);
    return {tile + 2 * field, load_real<T>(stored, tile), load_real<T>(stored, tile + field)};
  }
  /// The same, all at once; `memory`: 32 bytes for the codes.
  template <class T>
  [[nodiscard]] GroupView<T> group(const std::uint8_t* tile, std::int8_t* memory) const {
    using Packed = std::conditional_t<kBits == 4, std::uint32_t, std::uint16_t>;  // eight codes
    const int field = field_bytes(stored);
    const std::uint8_t* const codes = tile + 2 * field;
    for (int i = 0; i < kGroup / 8; ++i) {
      Packed packed;
      std::memcpy(&packed, codes + i * int(sizeof packed), sizeof packed);
      const std::uint64_t spread = spread_codes(std::integral_constant<int, kBits>{}, packed);
      std::memcpy(memory + 8 * i, &spread, sizeof spread);
    }
    if (stored != Format::fp16) {
      return {memory, load_real<T>(stored, tile), load_real<T>(stored, tile + field)};
    }
    return {memory, T(scale_from_fp16(load_field<std::uint16_t>(tile))),
            T(scale_from_fp16(load_field<std::uint16_t>(tile + field)))};
  }

 private:
  template <class T>
  [[nodiscard]] ISOBIT_HD int code_of(T value, T low, T scale) const {
    const T y = T(round_to(stored, T(round_to(stored, value - low)) / scale));
    return round_half_even(y < T(kLevels) ? y : T(kLevels));
  }

  Format stored;
};

}  // namespace isobit
