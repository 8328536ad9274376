// Traces -> first divergence, distances, severities. Pure; bits decide.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "golden/golden.h"
#include "harness/verdict.h"
#include "runtime/trace.h"

namespace isobit {

/// Where two traces of the same prompts part. Positions are those of the logits row.
struct Divergence {
  int prompt = -1;  // index in trace a; -1: only b has the prompt
  std::string prompt_id;
  std::int64_t position = -1;
  std::int64_t index = -1;  // 0-based among generated tokens
  Digest a, b;
  std::int32_t id_a = -1, id_b = -1;
  float margin_a = 0, margin_b = 0;
  std::string what;  // "digest", "token", "position", "length", "prompt missing"
};

/// Equal bits of fewer tokens prove little: a scenario's min_tokens, unless it says another.
constexpr std::int64_t kFewestTokens = 8;

struct Comparison {
  std::int64_t tokens = 0;     // rows compared: on both sides and computed from equal inputs
  std::int64_t differing = 0;  // rows whose digests or ids differ
  std::int64_t flipped = 0;    // rows whose ids differ while all earlier fed tokens agree
  std::int64_t prompts = 0, prompts_differing = 0;
  std::optional<Divergence> first;             // in prompt order, then position
  std::vector<std::int64_t> divergence_index;  // per prompt: first differing token index or -1
  std::vector<float> flip_margins;             // margin in a at each first flip
  Severity severity = Severity::none;  // by top-k distance and margin, or by values when known
  std::string mistrust;                // why the comparison says nothing; empty: it does
  /// Every row of every prompt agrees. This, not a count, decides.
  [[nodiscard]] bool equal() const { return !first.has_value(); }
};

/// Compares rows by what `of` says: whole rows, returned log-probabilities, tokens alone. Where the
/// two engines gave different evidence tokens are compared. Equal rows that say less than `of` asks
/// are mistrusted; different ones differ.
///
/// Compares prompt by prompt (matched by tokens_digest and order). Free-running traces are compared
/// up to the first flip of each prompt: afterwards inputs differ (what was fed tells). Mistrusted:
/// same trace object, nothing in common, fewer than `least` tokens in an equal prompt (unless it
/// ended at EOS), constant logits, the same logits at every position.
Comparison compare(const CellTrace& a, const CellTrace& b, std::int64_t least = kFewestTokens,
                   Evidence of = Evidence::logits);
/// Root of a trace by what `of` says: its digests and tokens, or its tokens alone.
Sha256 root_of(const CellTrace& trace, Evidence of);
/// Whether two roots differ, by tokens where their digests are of different evidence.
bool roots_differ(const CellTrace& a, const CellTrace& b, Evidence of);
/// Why equal traces say less than `of` asks, or empty.
std::string lacks_evidence(const CellTrace& a, const CellTrace& b, Evidence of);
/// A prompt against its golden. A golden holds no values: severity is by ids alone.
Comparison compare(const PromptTrace& a, const GoldenBlock& golden,
                   std::int64_t least = kFewestTokens);

/// Distances of two logits rows (metrics.cc).
/// REQUIRES equal lengths. kl is infinite for NaN, for +inf, and where b gives 0 and a does not.
RowDistance row_distance(std::span<const float> a, std::span<const float> b);
RowDistance row_distance(std::span<const double> a, std::span<const double> b);
/// The same without asking first whether the bits are equal: the numbers of equal rows are computed
/// as those of others are, for the identity control.
RowDistance value_distance(std::span<const float> a, std::span<const float> b);
RowDistance value_distance(std::span<const double> a, std::span<const double> b);
/// bits only: margin > 2*distance on both sides; flipped: argmax differs; else near tie.
Severity severity_of(const RowDistance& distance);

/// Upper bound (one-sided, 95 %) of a rate of which `events` were seen in `trials`: the exact
/// 1 - 0.05^(1/N) when events is 0, else the Wilson limit; 1 without trials.
double rate_upper_bound(std::int64_t events, std::int64_t trials);

/// First differing layer and operation of a prompt at or before a position, from stored
/// observation digests alone (localise.cc). Nothing when no key is on both sides, or all agree.
struct Location {
  std::int64_t position = -1;
  std::int32_t layer = -1;
  Site site = Site::logits;
  Digest a, b;
  std::int64_t compared = 0;  // observations on both sides
  std::int64_t absent = 0;    // on one side only
};
std::optional<Location> localise(const PromptTrace& a, const PromptTrace& b);

}  // namespace isobit
