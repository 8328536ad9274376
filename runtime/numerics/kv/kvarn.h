// KVarN's tile as a cache codec (arXiv 2606.03458): a group of tokens by all channels of a head,
// balanced along both axes, then rounded to nearest, channel by channel for K and token by token
// for V. Read on the host and on the device, encoded on the host; NUMERICS.md, "kvarn".
#pragma once

#include "runtime/numerics/kv/balance.h"
#include "runtime/numerics/kv/codec.h"
#include "runtime/numerics/kv/fields.h"
#include "runtime/numerics/kv/packing.h"
#include "runtime/numerics/kv/rtn.h"

namespace isobit {

/// A row is what is rounded together: a channel of K, a token of V. Columns are the other axis.
/// Fields of K: codes, A and Z of the rows, s of the columns; of V: codes, s, A, Z.
template <bool kKeys>
struct Kvarn {
  static constexpr bool kEncodesOnHost = true;
  ISOBIT_HD explicit Kvarn(const KvCodec& codec)
      : numbers(number_format(codec.stored)),
        group(codec.tokens),
        width(codec.channels),
        bits(codec.bits),
        iterations(codec.iterations) {}
  [[nodiscard]] ISOBIT_HD int tokens() const { return group; }
  [[nodiscard]] ISOBIT_HD int channels() const { return width; }
  /// REQUIRES: group * head_dim * bits is a multiple of 64.
  static KvCodec make(Format stored, int group, int head_dim, int bits, int iterations) {
    const int numbers = kKeys ? 2 * head_dim + group : head_dim + 2 * group;
    return {
        kKeys ? KvCodecKind::kvarn_keys : KvCodecKind::kvarn_values, stored, group,     head_dim,
        group * head_dim * bits / 8 + numbers * field_bytes(stored), bits,   iterations};
  }

  template <class T>
  void encode(const T* x, std::int64_t token_stride, std::int64_t channel_stride,
              std::uint8_t* tile) const {
    std::vector<T> values(std::size_t(rows()) * std::size_t(columns()));
    bool finite = true;
    for (int r = 0; r < rows(); ++r) {
      for (int c = 0; c < columns(); ++c) {
        const int token = kKeys ? c : r, channel = kKeys ? r : c;
        const T value = x[token * token_stride + channel * channel_stride];
        values[std::size_t(r * columns() + c)] = value;
        finite = finite && is_finite(value);
      }
    }
    BalanceScales<T> scales = Balance<T>(values, rows(), columns()).scales(finite ? iterations : 0);
    if (!finite) std::fill(scales.columns.begin(), scales.columns.end(), canonical_nan(T(0)));
    encode_scaled(values, scales, tile);
  }

  /// encode() from the step after the balance on. `values`: (rows, columns).
  template <class T>
  void encode_scaled(const std::vector<T>& values, const BalanceScales<T>& scales,
                     std::uint8_t* tile) const {
    std::vector<T> balanced(values.size());
    scales.divide(values, balanced);
    std::fill(tile, tile + code_bytes(), std::uint8_t(0));
    for (int r = 0; r < rows(); ++r) {
      encode_row(r, balanced.data() + r * columns(), scales.rows[std::size_t(r)], tile);
    }
    for (int c = 0; c < columns(); ++c) {
      store(scales.columns[std::size_t(c)], tile + s_at() + c * field());
    }
  }

  /// A tile that is read, value by value.
  template <class T>
  struct Tile {
    const std::uint8_t* tile;
    Kvarn codec;
    [[nodiscard]] ISOBIT_HD T at(int token, int channel) const {
      const int r = kKeys ? channel : token, c = kKeys ? token : channel;
      const auto number = [&](int from, int i) {
        return load_real<T>(codec.numbers, tile + from + i * codec.field());
      };
      const T code = T(packed_code(tile, r * codec.columns() + c, codec.bits));
      return fma_(code, number(codec.a_at(), r), number(codec.z_at(), r)) * number(codec.s_at(), c);
    }
  };
  template <class T>
  [[nodiscard]] ISOBIT_HD Tile<T> open(const std::uint8_t* tile) const {
    return {tile, *this};
  }

 private:
  /// fp16 in the 16-bit modes, as published; else R's type.
  ISOBIT_HD static constexpr Format number_format(Format stored) {
    return stored == Format::bf16 ? Format::fp16 : stored;
  }
  [[nodiscard]] ISOBIT_HD int rows() const { return kKeys ? width : group; }
  [[nodiscard]] ISOBIT_HD int columns() const { return kKeys ? group : width; }
  [[nodiscard]] ISOBIT_HD int field() const { return field_bytes(numbers); }
  [[nodiscard]] ISOBIT_HD int code_bytes() const { return group * width * bits / 8; }
  [[nodiscard]] ISOBIT_HD int a_at() const {
    return code_bytes() + (kKeys ? 0 : columns() * field());
  }
  [[nodiscard]] ISOBIT_HD int z_at() const { return a_at() + rows() * field(); }
  [[nodiscard]] ISOBIT_HD int s_at() const {
    return code_bytes() + (kKeys ? 2 * rows() * field() : 0);
  }

  template <class T>
  void store(T number, std::uint8_t* at) const {
    store_real(numbers, T(round_to(numbers, number)), at);
  }
  /// Rounds one balanced row and takes its scale into its steps.
  template <class T>
  void encode_row(int r, const T* balanced, T scale, std::uint8_t* tile) const {
    const RtnSteps<T> steps = rtn_steps(balanced, columns(), 1, bits);
    T a = T(round_to(numbers, scale * steps.step)), z = T(round_to(numbers, scale * steps.low));
    const bool codes = steps.finite() && is_finite(a) && is_finite(z);
    if (!codes) a = z = canonical_nan(a);
    store(a, tile + a_at() + r * field());
    store(z, tile + z_at() + r * field());
    for (int c = 0; codes && c < columns(); ++c) {
      pack_code(tile, r * columns() + c, bits, steps.code_of(balanced[c]));
    }
  }

  Format numbers;
  int group, width, bits, iterations;
};

}  // namespace isobit
