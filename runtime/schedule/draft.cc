// Drafts by n-grams of the sequence itself.

#include "runtime/schedule/draft.h"

#include <algorithm>

namespace isobit {
namespace {

/// Where the followers of the latest earlier occurrence of the last `length` tokens begin; 0: none.
std::size_t followers(std::span<const std::int32_t> tokens, std::size_t length) {
  const auto suffix = tokens.last(length);
  for (std::size_t end = tokens.size() - 1; end >= length; --end) {
    if (std::ranges::equal(tokens.subspan(end - length, length), suffix)) return end;
  }
  return 0;
}

}  // namespace

std::vector<std::int32_t> drafted_tokens(std::span<const std::int32_t> tokens, std::int64_t count) {
  std::vector<std::int32_t> draft;
  if (tokens.empty()) return draft;
  std::size_t at = 0;
  for (std::size_t length = kDraftContext; length > 0 && at == 0; --length) {
    if (length < tokens.size()) at = followers(tokens, length);
  }
  for (; at > 0 && std::int64_t(draft.size()) < count; ++at) {
    draft.push_back(at < tokens.size() ? tokens[at] : draft[at - tokens.size()]);
  }
  return draft;
}

}  // namespace isobit
