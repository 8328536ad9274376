// Coded positions of one split and KV head as values, many groups of codes at a time, where a
// codec's tiles are groups of 32 codes (numerics/kv/groups.h). Caller:
// attention_coded.cc.
#pragma once

#include <cstring>

#include "runtime/backends/cpu/kernels/kernels.h"
#include "runtime/numerics/kv/groups.h"

namespace isobit::cpu {

template <class Codec, class T>
concept GroupCodec = requires(const Codec& codec, const std::uint8_t* tile, std::int8_t* memory) {
  codec.template group<T>(tile, memory);
};

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

  /// The same as signed bytes with their scales and minima, laid out as SplitCodes says.
  template <class Seen>
  void key_codes(std::int64_t begin, std::int64_t end, const Seen& seen, std::int8_t* codes,
                 T* scale, T* low) {
    if constexpr (Codec::tokens() > 1) return channel_codes(begin, end, codes, scale, low);
    for (std::int64_t block = begin / kKeyBlock; block * kKeyBlock < end; ++block) {
      const std::int64_t at = block * kKeyBlock % kSplitKeys;
      find_rows(block, begin, end, seen);
      for (std::int64_t c = 0, tile = 0; c < d_; c += kGroupCodes, tile += tile_bytes_) {
        add_rows(tile);
        kernels_.turn_codes(groups_.codes, codes + at * d_ + c * kKeyBlock);
        const std::int64_t fields = at * (d_ / kGroupCodes) + c / kGroupCodes * kKeyBlock;
        std::memcpy(scale + fields, groups_.scale, kKeyBlock * sizeof(T));
        std::memcpy(low + fields, groups_.low, kKeyBlock * sizeof(T));
      }
    }
  }
  template <class Seen>
  void value_codes(std::int64_t begin, std::int64_t end, const Seen& seen, std::int8_t* codes,
                   T* scale, T* low) {
    for (std::int64_t p = begin; p < end; ++p) {
      if (!seen(p)) continue;
      const std::uint8_t* tile = row_of(p);
      const std::int64_t first = p % kSplitKeys * (d_ / kGroupCodes);
      for (std::int64_t at = first; at < first + d_ / kGroupCodes; ++at, tile += tile_bytes_) {
        const GroupView<T> group = codec_.template group<T>(tile, memory_[0]);
        std::memcpy(codes + at * kGroupCodes, group.codes, kGroupCodes);
        scale[at] = group.scale;
        low[at] = group.low;
      }
    }
  }

 private:
  static constexpr std::int64_t kSplitKeys = 256, kPrefetchAhead = 4096;

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

  void channel_codes(std::int64_t begin, std::int64_t end, std::int8_t* codes, T* scale, T* low) {
    for (std::int64_t p = begin / kGroupCodes * kGroupCodes; p < end; p += kGroupCodes) {
      const std::uint8_t* const row = row_of(p);
      std::int8_t* const to = codes + p % kSplitKeys * d_;
      const std::int64_t fields = p % kSplitKeys / kGroupCodes * d_;
      for (std::int64_t c = 0; c < d_; ++c) {
        const GroupView<T> group = codec_.template group<T>(row + c * tile_bytes_, memory_[0]);
        std::memcpy(to + c * kKeyBlock, group.codes, kKeyBlock);
        std::memcpy(to + (c + d_) * kKeyBlock, group.codes + kKeyBlock, kKeyBlock);
        scale[fields + c] = group.scale;
        low[fields + c] = group.low;
      }
    }
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
    const std::uint8_t* const row = page_ + (p - page_begin_) / Codec::tokens() * row_bytes_;
    // What follows in memory is wanted soon, and the next page's beginning is no great loss.
    for (std::int64_t line = 0; line < row_bytes_; line += 64) {
      __builtin_prefetch(row + kPrefetchAhead + line);
    }
    return row;
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
