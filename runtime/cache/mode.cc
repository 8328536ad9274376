// The lossless cache modes as data.

#include "runtime/cache/mode.h"

#include "runtime/base/words.h"

namespace isobit {
namespace {

/// The n of "chunked:n"; 0 when it is no number in [1, kLargestPiece].
std::int64_t size_after_colon(const std::string& text) {
  const std::size_t colon = text.find(':');
  if (colon == std::string::npos) return 0;
  std::int64_t n = 0;
  return parse_integer(text.substr(colon + 1), 1, kLargestPiece, n) ? n : 0;
}

}  // namespace

Result<CacheMode> parse_cache_mode(const std::string& text) {
  CacheMode mode;
  mode.name = text;
  if (text == "on") return mode;
  if (text == "off") {
    mode.keeps = false;
    return mode;
  }
  if (text == "prefix") {
    mode.page_size = 16;
    mode.shares_prefix = true;
    return mode;
  }
  if (text == "recomputed") {
    mode.recomputes = true;
    return mode;
  }
  const std::int64_t n = size_after_colon(text);
  if (text.starts_with("chunked:") && n > 0) {
    mode.chunk = n;
    return mode;
  }
  if (text.starts_with("paged:") && n > 0) {
    mode.page_size = std::int32_t(n);
    mode.shuffled_pages = true;
    return mode;
  }
  return Error{"unknown cache mode '" + text +
                   "'; known: on, off, {chunked: n}, {paged: n}, prefix, recomputed "
                   "(n from 1 to " +
                   std::to_string(kLargestPiece) + ")",
               ""};
}

}  // namespace isobit
