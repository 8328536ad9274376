// What a lossy cache keeps in place of K or V: tiles of tokens and channels of one head, each coded
// into the same number of bytes (NUMERICS.md, "Lossy caches").
//
// Data only, host and device: which codec it is and where its tiles lie in a pool. The arithmetic
// is one header a codec beside this one; codecs.h finds it.
#pragma once

#include "runtime/numerics/platform.h"
#include "runtime/numerics/precision.h"

namespace isobit {

/// A codec by name. "Tokens" and "channels" say along which the values of a group lie.
enum class KvCodecKind : std::uint8_t {
  none,
  q8_0,
  q4_0,
  q4_1,
  q5_0,
  q5_1,
  iq4_nl,
  kivi2_tokens,
  kivi2_channels,
  kivi4_tokens,
  kivi4_channels,
  rtn_tokens,
  rtn_channels,
  kvarn_keys,
  kvarn_values
};

/// A codec in one precision: what a backend needs to know of a coded side of the cache.
struct KvCodec {
  KvCodecKind kind = KvCodecKind::none;
  Format stored = Format::f32;             // R of the values, and the type of a tile's scales
  std::int32_t tokens = 1, channels = 32;  // of a tile; tokens divide 256
  std::int32_t bytes = 0;                  // of a tile, a multiple of the scales' size
  std::int32_t bits = 0;                   // of a code, where the kind leaves it open
  std::int32_t iterations = 0;             // of kvarn's normalisation

  [[nodiscard]] ISOBIT_HD bool codes() const { return kind != KvCodecKind::none; }
};

/// Where the tiles of one layer lie in a pool: [page][KV head][tile row][tile column].
/// REQUIRES: page_size is a multiple of the tile's tokens, head_dim of its channels.
struct CodeLayout {
  KvCodec codec;
  std::int64_t kv_heads = 0, head_dim = 0;
  std::int32_t page_size = 1;  // positions of a page

  [[nodiscard]] ISOBIT_HD std::int64_t tiles_across() const { return head_dim / codec.channels; }
  [[nodiscard]] ISOBIT_HD std::int64_t head_bytes() const {
    return page_size / codec.tokens * tiles_across() * codec.bytes;
  }
  [[nodiscard]] ISOBIT_HD std::int64_t page_bytes() const { return head_bytes() * kv_heads; }
  /// First byte of the tile that holds a channel of a head at offset `o` of a page.
  [[nodiscard]] ISOBIT_HD std::int64_t tile(std::int64_t page, std::int64_t head, std::int64_t o,
                                            std::int64_t channel) const {
    return page * page_bytes() + head * head_bytes() +
           (o / codec.tokens * tiles_across() + channel / codec.channels) * codec.bytes;
  }
};

}  // namespace isobit
