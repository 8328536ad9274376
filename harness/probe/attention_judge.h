// Do the rules of fused attention (runtime/numerics/fused.h) give what a library returned? Each row
// of a capture is computed again from its drawn operands and compared, bit for bit.
//
// Promise: a judgement depends on the captures alone, not on the number of threads. A kernel that
// no rule knows, or a GPU other than Hopper's, is counted and not judged. Callers: cli, tests.
#pragma once

#include <compare>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "harness/probe/attention_capture.h"

namespace isobit::probe {

constexpr std::size_t kListedMisses = 20;

/// How a call is computed again.
struct AttentionRule {
  /// As books name it, "fa2", "cudnn:sm80:32", or "fa2 split"; without a rule: the kernels.
  std::string kernel;
  std::optional<FusedPlan> plan;    // empty: no rule
  FusedChoice choice;               // of a rule
  std::int32_t splits_started = 1;  // what the kernel's grid says; the plan's is a forecast
};
AttentionRule rule_of(const AttentionCall& call, const Facts& facts);

/// neighbour: no 16-bit value lies between the two. zero: +0 and -0.
enum class Miss : std::uint8_t { neighbour, zero, other };
Miss miss_of(Format format, std::uint16_t a, std::uint16_t b);
const char* name_of(Miss miss);  // "one unit", "sign of zero", "other"

/// An output that differs.
struct AttentionMiss {
  std::size_t capture = 0;  // which of those that were judged
  std::int64_t line = 0;    // the row's
  std::int64_t sequence = 0, head = 0, query = 0, output = 0;
  std::uint16_t returned = 0, computed = 0;
  Miss kind = Miss::other;
  bool operator==(const AttentionMiss&) const = default;
};

/// Calls that are alike.
struct AttentionKind {
  std::string kernel, precision;
  std::int64_t head_dim = 0;
  std::string mask;
  bool ruled = false;
  auto operator<=>(const AttentionKind&) const = default;
};
struct AttentionCount {
  std::int64_t calls = 0, outputs = 0;
  std::int64_t neighbours = 0, zeros = 0, others = 0;  // misses
  std::int64_t wrong_splits = 0;                       // calls whose grid is not as the plan says
  [[nodiscard]] std::int64_t misses() const { return neighbours + zeros + others; }
  void add(const AttentionCount& more);
  bool operator==(const AttentionCount&) const = default;
};

/// One call by a plan. Adds to `misses` while it holds fewer than kListedMisses. Ends early when
/// interrupted.
AttentionCount judge_call(const AttentionCall& call, const FusedPlan& plan,
                          std::vector<AttentionMiss>& misses);

/// What became of one call.
struct JudgedCall {
  const AttentionCall* call = nullptr;  // of the captures
  FusedChoice choice;                   // none: it has no rule
  AttentionCount count;
};

struct AttentionJudgement {
  std::map<AttentionKind, AttentionCount> kinds;
  std::vector<AttentionMiss> misses;  // the first kListedMisses, in the captures' order
  std::vector<JudgedCall> calls;      // in the captures' order
  [[nodiscard]] AttentionCount total(bool ruled) const;
};
struct JudgeOptions {
  int threads = 1;
  /// Told now and then, from one thread at a time, how many calls of all are done.
  std::function<void(std::int64_t done, std::int64_t all)> progress;
};
/// Without meaning when interrupted.
AttentionJudgement judge_attention(const std::vector<AttentionCapture>& captures,
                                   const JudgeOptions& options);

}  // namespace isobit::probe
