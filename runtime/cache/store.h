// Where keys and values live: pages of a pool, tables of sequences, and the hooks on which every
// cache mode is built (architecture.md, decision 3).
//
// Layouts and policies are data. A mode is a CacheMode value (schedule/cache_mode.cc); compressing,
// noisy or evicting caches are a KvHooks value. One KvCache serves one rank. Not thread-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "runtime/backend.h"
#include "runtime/base/result.h"
#include "runtime/device_memory.h"

namespace isobit {

constexpr std::int64_t kLargestPiece = 65536;  // positions of a chunk or a page

/// A lossless cache mode: what is kept between steps, in which pieces it is computed and stored.
struct CacheMode {
  std::string name = "on";
  bool keeps = true;       // false: every step starts from nothing ("off")
  std::int64_t chunk = 0;  // prompt tokens a step; 0: all at once
  std::int32_t page_size = 256;
  bool shuffled_pages = false;  // pages are handed out in a scattered order
  bool shares_prefix = false;   // whole pages of the prompt come from an earlier sequence
  bool recomputes = false;      // K/V are rebuilt each step from the stored residual stream
};

/// "on", "off", "chunked:17", "paged:16", "prefix", "recomputed"; an error names the value.
Result<CacheMode> parse_cache_mode(const std::string& text);

enum class KeyOrValue : std::uint8_t { key, value };

/// Observers and transformers of the cache. Values are exact copies as double, whatever the
/// precision; what a hook leaves is rounded to the mode's Real. Empty members cost nothing.
struct KvHooks {
  /// At write: one head's vector, (head_dim), may be changed before it is stored.
  std::function<void(int layer, int head, std::int64_t position, KeyOrValue which,
                     std::span<double> vector)>
      write;
  /// At read: the same, on the copy that attention is about to read.
  std::function<void(int layer, int head, std::int64_t position, KeyOrValue which,
                     std::span<double> vector)>
      read;
  /// Attention weights of one query row and head over positions [0, weights.size()).
  std::function<void(int layer, int head, int sequence, std::int64_t position,
                     std::span<const double> weights)>
      observe;
  /// After observe of a step: positions to keep from now on (0 evicts), per layer and sequence.
  std::function<void(int layer, int sequence, std::span<std::uint8_t> keep)> select;
  /// The residual stream entering a layer: (hidden), may be patched.
  std::function<void(int layer, int sequence, std::int64_t position, std::span<double> residual)>
      residual;

  [[nodiscard]] bool evicts() const { return bool(observe) || bool(select); }
};

struct KvShape {
  std::int64_t layers = 0;
  std::int64_t kv_heads = 0;  // of this rank
  std::int64_t head_dim = 0;
  std::int64_t hidden = 0;     // residual rows, used by modes that recompute
  std::int64_t max_slots = 0;  // positions in all pages together
};

class KvCache {
 public:
  KvCache(Backend& backend, const KvShape& shape, const CacheMode& mode, const KvHooks* hooks);

  /// Opens a sequence; its number is reused after close().
  int open();
  void close(int sequence);
  /// Takes `positions` (whole pages of it) from `donor`'s first pages; gives how many were taken.
  std::int64_t share_prefix(int sequence, int donor, std::int64_t positions);
  /// Makes room for positions [0, n). REQUIRES: the pool is large enough (max_slots).
  void reserve(int sequence, std::int64_t n);
  /// Forgets every position of a sequence, keeping it open.
  void clear(int sequence);

  [[nodiscard]] std::int64_t slot(int sequence, std::int64_t position) const;
  [[nodiscard]] const std::int32_t* table(int sequence) const;
  [[nodiscard]] std::int64_t pages(int sequence) const;
  [[nodiscard]] void* k_pool(std::int64_t layer) { return k_[std::size_t(layer)].get(); }
  [[nodiscard]] void* v_pool(std::int64_t layer) { return v_[std::size_t(layer)].get(); }
  [[nodiscard]] std::size_t k_bytes() const { return k_bytes_; }  // of one layer's pool
  [[nodiscard]] std::size_t v_bytes() const { return v_bytes_; }
  /// Residual row of a slot at a layer's input: (hidden), backend memory. Modes that recompute.
  [[nodiscard]] void* residual(std::int64_t layer, std::int64_t slot);
  /// Keep mask of a sequence at a layer, or null when nothing was ever evicted.
  std::vector<std::uint8_t>* keep(std::int64_t layer, int sequence, bool create);

  [[nodiscard]] const CacheMode& mode() const { return mode_; }
  [[nodiscard]] const KvShape& shape() const { return shape_; }
  [[nodiscard]] const KvHooks* hooks() const { return hooks_; }

 private:
  struct Sequence {
    bool open = false;
    std::vector<std::int32_t> pages;
    std::vector<std::vector<std::uint8_t>> keep;  // by layer
  };
  void unref(std::int32_t page);

  Backend& backend_;
  KvShape shape_;
  CacheMode mode_;
  const KvHooks* hooks_;
  std::vector<DeviceMemory> k_, v_, residual_;
  std::size_t k_bytes_ = 0, v_bytes_ = 0;
  std::vector<std::int32_t> free_;  // taken from the back
  std::vector<int> references_;     // by page
  std::vector<Sequence> sequences_;
};

}  // namespace isobit
