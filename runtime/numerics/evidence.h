// Digests of what an engine gives instead of a logits row: returned log-probabilities, or a token.
//
// Their bytes begin with a tag of their own (NUMERICS.md, "Digest of a row"), so that a digest of
// one level of evidence never equals one of another.
#pragma once

#include <cstdint>
#include <span>
#include <utility>

#include "runtime/numerics/digest.h"

namespace isobit {

/// The token that was drawn, its log-probability, and the most probable tokens with theirs, in the
/// order in which they were returned. A NaN is made canonical; the sign of zero counts.
Digest digest_logprobs(std::int32_t token, double logprob,
                       std::span<const std::pair<std::int32_t, double>> top);
/// The token alone.
Digest digest_token(std::int32_t token);

}  // namespace isobit
