// Which tokens a speculative step tries: an n-gram rule, fixed, so that every rank drafts the same.
// Callers: batcher.cc.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace isobit {

constexpr std::int64_t kDraftContext = 3;  // most tokens that are looked for

/// `count` tokens to follow a sequence: those that followed the latest earlier occurrence of its
/// last three tokens, or else of its last two, or else of its last one. Where the followers reach
/// the end of the sequence, the draft itself goes on. Nothing found: nothing drafted.
std::vector<std::int32_t> drafted_tokens(std::span<const std::int32_t> tokens, std::int64_t count);

}  // namespace isobit
