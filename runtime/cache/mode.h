// The lossless cache modes as data: what is kept between steps, in which pieces it is computed and
// where it lies. Callers: everyone who asks for a cell; the batcher and the store obey.
#pragma once

#include <cstdint>
#include <string>

#include "runtime/base/result.h"

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

}  // namespace isobit
