// The lossless cache modes as data: what is kept between steps, in which pieces it is computed and
// where it lies. Callers: everyone who asks for a cell; the batcher and the store obey.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/base/result.h"

namespace isobit {

constexpr std::int64_t kLargestPiece = 65536;  // positions of a chunk or a page
constexpr std::int64_t kMostDrafts = 64;       // tokens drafted a step

/// A lossless cache mode: what is kept between steps, in which pieces it is computed and stored.
struct CacheMode {
  std::string name = "on";  // canonical
  bool keeps = true;        // false: every step starts from nothing ("off")
  std::int64_t chunk = 0;   // prompt tokens a step; 0: all at once
  std::int32_t page_size = 256;
  bool shuffled_pages = false;  // pages are handed out in a scattered order
  bool shares_prefix = false;   // whole pages of the prompt come from an earlier sequence
  bool recomputes = false;      // K/V are rebuilt each step from the stored residual stream
  std::int64_t drafts = 0;      // tokens drafted a step (schedule/draft.h) and verified in it

  /// Whole pages of a prompt of n tokens that may come from another sequence; one token is always
  /// computed.
  [[nodiscard]] std::int64_t shared_positions(std::int64_t n) const {
    return shares_prefix ? (n - 1) / page_size * page_size : 0;
  }
};

/// "on", "off", or what a mode changes, joined by '+': "chunked:17", "paged:16+prefix:true". A flag
/// alone is a word: "prefix", "recomputed". The name is canonical: sorted, without what changes
/// nothing. An error names the value.
Result<CacheMode> parse_cache_mode(const std::string& text);
/// What a mode may change, sorted: "chunked", "paged", …
const std::vector<std::string>& cache_options();

}  // namespace isobit
