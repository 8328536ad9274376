// Coded positions of one split and KV head as values, many groups of codes at a time, where a
// codec's tiles are groups of 32 codes (numerics/kv/groups.h). Caller:
// attention_coded.cc.
#pragma once

#include <cstring>
#include <vector>

#include "runtime/backends/cpu/kernels/kernels.h"
#include "runtime/numerics/kv/groups.h"

namespace isobit::cpu {

template <class Codec, class T>
concept GroupCodec = requires(const Codec& codec, const std::uint8_t* tile, std::int8_t* memory) {
  codec.template group<T>(tile, memory);
};

/// A tile is an fp16 scale and, at kCodesAt, signed bytes: they need not be copied.
template <class Codec>
concept InPlace = requires {
  Codec::kCodesAt;
};

/// Memory for one split's codes, head_dim at most 256, and what they are read by.
template <class T>
struct CodesRoom {
  std::int8_t *key, *value;                          // (256, head_dim) each
  T *key_scale, *key_low, *value_scale, *value_low;  // (256, head_dim / 32) each
  const std::int8_t* rows[256];
  std::uint16_t halves[256 * 8];
  SplitCodes<T> split;
};

/// The minima of codecs without one.
template <class T>
const T* no_low() {
  static const std::vector<T> zeros(256 * 8, T(-0.0));
  return zeros.data();
}

/// Asks for a line of each page of memory in which the codes of positions [begin, end) lie: where
/// pages are small, finding them takes as long as reading them. The positions lie in one page of
/// codes.
inline void find_pages(const KvCodes& codes, std::int64_t begin, std::int64_t end) {
  constexpr std::int64_t kMemoryPage = 4096;
  for (const int side : {0, 1}) {
    const CodeLayout& layout = side == 0 ? codes.k_layout : codes.v_layout;
    const std::int64_t page = codes.table[begin / layout.page_size];
    if (page < 0) continue;  // given back
    const std::uint8_t* const from = (side == 0 ? codes.k : codes.v) +
                                     layout.tile(page, codes.head, begin % layout.page_size, 0);
    const std::int64_t bytes =
        (end - begin) / layout.codec.tokens * layout.tiles_across() * layout.codec.bytes;
    for (std::int64_t at = 0; at < bytes; at += kMemoryPage) __builtin_prefetch(from + at);
  }
}

/// Where the tiles of one side lie, and the kernels that read them. Codes of 32 neighbours a tile:
/// channels of a position (tokens() 1), or positions of a channel.
template <class T, class Codec>
class GroupDecoder {
 public:
  GroupDecoder(const Codec& codec, const KernelsOf<T>& kernels, const KvCodes& codes,
               const CodeLayout& layout, const std::uint8_t* pool)
      : codec_(codec),
        kernels_(kernels),
        table_(codes.table),
        d_(layout.head_dim),
        page_size_(layout.page_size),
        page_bytes_(layout.page_bytes()),
        tile_bytes_(layout.codec.bytes),
        row_bytes_(layout.tiles_across() * layout.codec.bytes),
        head_(pool + codes.head * layout.head_bytes()) {}

  /// Keys of positions [begin, end) into a split's (blocks of 16, head_dim, 16). Positions that
  /// `seen` hides are not read; their places hold anything.
  template <class Seen>
  void keys(std::int64_t begin, std::int64_t end, const Seen& seen, T* split) {
    if constexpr (Codec::tokens() > 1) return keys_by_channel(begin, end, split);
    for (std::int64_t block = begin / kKeyBlock; block * kKeyBlock < end; ++block) {
      T* const to = split + block * kKeyBlock % kSplitKeys * d_;
      find_rows(block, begin, end, seen);
      for (std::int64_t c = 0, tile = 0; c < d_; c += kGroupCodes, tile += tile_bytes_) {
        add_rows(tile);
        kernels_.decode_turned(groups_, to + c * kKeyBlock);
      }
    }
  }

  /// Values of positions [begin, end) into a split's (256, head_dim); hidden ones are left alone.
  template <class Seen>
  void values(std::int64_t begin, std::int64_t end, const Seen& seen, T* split) {
    const std::int64_t most = kMostGroups / (d_ / kGroupCodes);
    for (std::int64_t p = begin, first; p < end;) {
      groups_.count = 0;
      for (first = p; p < end && p < first + most && seen(p); ++p) {
        const std::uint8_t* const row = row_of(p);
        for (std::int64_t tile = 0; tile < row_bytes_; tile += tile_bytes_) add(row + tile);
      }
      kernels_.decode_rows(groups_, split + first % kSplitKeys * d_, kGroupCodes, kKeyBlock);
      while (p < end && !seen(p)) ++p;
    }
  }

  /// The same as signed bytes.
  template <class Seen>
  void key_codes(std::int64_t begin, std::int64_t end, const Seen& seen, CodesRoom<T>& room) {
    room.split.key_scale = room.key_scale;
    room.split.key_low = room.key_low;
    room.split.by_channel = Codec::tokens() > 1;
    if constexpr (Codec::tokens() > 1) return channel_codes(begin, end, room);
    if constexpr (InPlace<Codec>) return key_codes_in_place(begin, end, seen, room);
    for (std::int64_t block = begin / kKeyBlock; block * kKeyBlock < end; ++block) {
      const std::int64_t at = block * kKeyBlock % kSplitKeys;
      find_rows(block, begin, end, seen);
      for (std::int64_t c = 0, tile = 0; c < d_; c += kGroupCodes, tile += tile_bytes_) {
        add_rows(tile);
        kernels_.turn_codes(groups_.codes, 0, 1, room.key + at * d_ + c * kKeyBlock);
        const std::int64_t fields = at * (d_ / kGroupCodes) + c / kGroupCodes * kKeyBlock;
        std::memcpy(room.key_scale + fields, groups_.scale, kKeyBlock * sizeof(T));
        std::memcpy(room.key_low + fields, groups_.low, kKeyBlock * sizeof(T));
      }
    }
  }
  template <class Seen>
  void value_codes(std::int64_t begin, std::int64_t end, const Seen& seen, CodesRoom<T>& room) {
    const std::int64_t across = d_ / kGroupCodes;
    room.split.value_scale = room.value_scale;
    room.split.value_low = room.value_low;
    room.split.value = room.rows;
    room.split.value_stride = InPlace<Codec> ? tile_bytes_ : kGroupCodes;
    for (std::int64_t p = begin; p < end; ++p) {
      if (!seen(p)) continue;
      const std::uint8_t* tile = row_of(p);
      const std::int64_t o = p % kSplitKeys;
      if constexpr (InPlace<Codec>) {
        room.rows[o] = reinterpret_cast<const std::int8_t*>(tile + Codec::kCodesAt);
        for (std::int64_t t = 0; t < across; ++t, tile += tile_bytes_) {
          std::memcpy(room.halves + o * across + t, tile, 2);
        }
        continue;
      }
      room.rows[o] = room.value + o * d_;
      for (std::int64_t at = o * across; at < (o + 1) * across; ++at, tile += tile_bytes_) {
        const GroupView<T> group = codec_.template group<T>(tile, memory_[0]);
        std::memcpy(room.value + at * kGroupCodes, group.codes, kGroupCodes);
        room.value_scale[at] = group.scale;
        room.value_low[at] = group.low;
      }
    }
    if constexpr (InPlace<Codec>) {
      const std::int64_t first = begin % kSplitKeys * across, n = (end - begin) * across;
      kernels_.widen(room.halves + first, n, Format::fp16, room.value_scale + first);
      room.split.value_low = no_low<T>();
    }
  }

 private:
  static constexpr std::int64_t kSplitKeys = 256;

  /// A tile is a channel of 32 positions, which lie in two blocks.
  void keys_by_channel(std::int64_t begin, std::int64_t end, T* split) {
    for (std::int64_t p = begin / kGroupCodes * kGroupCodes; p < end; p += kGroupCodes) {
      const std::uint8_t* const row = row_of(p);
      for (std::int64_t c = 0, first; c < d_;) {
        groups_.count = 0;
        for (first = c; c < d_ && groups_.count < kMostGroups; ++c) add(row + c * tile_bytes_);
        kernels_.decode_rows(groups_, split + p % kSplitKeys * d_ + first * kKeyBlock, kKeyBlock,
                             kKeyBlock * d_);
      }
    }
  }

  void channel_codes(std::int64_t begin, std::int64_t end, CodesRoom<T>& room) {
    for (std::int64_t p = begin / kGroupCodes * kGroupCodes; p < end; p += kGroupCodes) {
      const std::uint8_t* const row = row_of(p);
      std::int8_t* const to = room.key + p % kSplitKeys * d_;
      const std::int64_t fields = p % kSplitKeys / kGroupCodes * d_;
      for (std::int64_t c = 0; c < d_; ++c) {
        const GroupView<T> group = codec_.template group<T>(row + c * tile_bytes_, memory_[0]);
        std::memcpy(to + c * kKeyBlock, group.codes, kKeyBlock);
        std::memcpy(to + (c + d_) * kKeyBlock, group.codes + kKeyBlock, kKeyBlock);
        room.key_scale[fields + c] = group.scale;
        room.key_low[fields + c] = group.low;
      }
    }
  }

  /// All scales first: many reads of memory are under way before the codes are turned.
  template <class Seen>
  void key_codes_in_place(std::int64_t begin, std::int64_t end, const Seen& seen,
                          CodesRoom<T>& room) {
    alignas(16) static constexpr std::uint8_t kNothing[512] = {};
    const std::int64_t across = d_ / kGroupCodes, first = begin / kKeyBlock * kKeyBlock;
    const std::int64_t last = (end + kKeyBlock - 1) / kKeyBlock * kKeyBlock;
    for (std::int64_t p = first; p < last; ++p) {
      const std::int64_t o = p % kSplitKeys;
      const std::uint8_t* tile = p >= begin && p < end && seen(p) ? row_of(p) : kNothing;
      room.rows[o] = reinterpret_cast<const std::int8_t*>(tile + Codec::kCodesAt);
      std::uint16_t* half = room.halves + o / kKeyBlock * kKeyBlock * across + o % kKeyBlock;
      for (std::int64_t t = 0; t < across; ++t, tile += tile_bytes_) {
        std::memcpy(half + t * kKeyBlock, tile, 2);
      }
    }
    const std::int64_t from = first % kSplitKeys, n = last - first;
    kernels_.widen(room.halves + from * across, n * across, Format::fp16,
                   room.key_scale + from * across);
    for (std::int64_t o = from; o < from + n; o += kKeyBlock) {
      kernels_.turn_codes(room.rows + o, tile_bytes_, across, room.key + o * d_);
    }
    room.split.key_low = no_low<T>();
  }

  /// Of a block of positions, the tiles of those that may be read; null for the others.
  template <class Seen>
  void find_rows(std::int64_t block, std::int64_t begin, std::int64_t end, const Seen& seen) {
    for (std::int64_t i = 0, p = block * kKeyBlock; i < kKeyBlock; ++i, ++p) {
      rows_[i] = p >= begin && p < end && seen(p) ? row_of(p) : nullptr;
    }
  }
  void add_rows(std::int64_t tile) {
    groups_.count = 0;
    for (const std::uint8_t* row : rows_) row != nullptr ? add(row + tile) : add_nothing();
  }

  /// The tiles of a position, channel by channel.
  const std::uint8_t* row_of(std::int64_t p) {
    if (p < page_begin_ || p >= page_begin_ + page_size_) {
      page_begin_ = p / page_size_ * page_size_;
      page_ = head_ + table_[p / page_size_] * page_bytes_;
    }
    return page_ + (p - page_begin_) / Codec::tokens() * row_bytes_;
  }
  void add(const std::uint8_t* tile) {
    const int at = groups_.count++;
    const GroupView<T> group = codec_.template group<T>(tile, memory_[at]);
    groups_.codes[at] = group.codes;
    groups_.scale[at] = group.scale;
    groups_.low[at] = group.low;
  }
  void add_nothing() {
    static constexpr std::int8_t kZeros[kGroupCodes] = {};
    const int at = groups_.count++;
    groups_.codes[at] = kZeros;
    groups_.scale[at] = groups_.low[at] = T(0);
  }

  Codec codec_;
  const KernelsOf<T>& kernels_;
  const std::int32_t* table_;
  std::int64_t d_, page_size_, page_bytes_, tile_bytes_, row_bytes_;
  const std::uint8_t* head_;  // of page 0
  const std::uint8_t* page_ = nullptr;
  std::int64_t page_begin_ = INT64_MIN / 2;  // of page_: its first position
  const std::uint8_t* rows_[kKeyBlock];
  CodeGroups<T> groups_;
  alignas(32) std::int8_t memory_[kMostGroups][kGroupCodes];
};

}  // namespace isobit::cpu
