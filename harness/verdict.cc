// Names of verdicts and the exit code of a run (verdict.h). Pure.
#include "harness/verdict.h"

#include <algorithm>
#include <cmath>
#include <iterator>

#include "runtime/base/result.h"

namespace isobit {

const char* name_of(Verdict verdict) {
  static constexpr const char* kNames[kVerdicts] = {
      "PASS",     "DIFF",  "NONDET", "FAIL", "MISTRUSTED", "NOGOLD",  "STALE",
      "OBSOLETE", "XFAIL", "XPASS",  "SKIP", "NOT-RUN",    "DEFERRED"};
  ISOBIT_CHECK(int(verdict) < kVerdicts);
  return kNames[int(verdict)];
}

const char* name_of(Severity severity) {
  static constexpr const char* kNames[] = {"", "bits only", "near tie", "flipped"};
  ISOBIT_CHECK(int(severity) < 4);
  return kNames[int(severity)];
}

// Precedence 130, 3, 2, 1, 7, 6, 8, 5, 4, 77, 0. Code 2 never comes from a finished run: a command
// that cannot start returns it itself.
int exit_code(const RunOutcome& outcome) {
  using enum Verdict;
  if (outcome.interrupted) return kExitInterrupted;
  if (outcome.internal_error) return kExitInternal;

  const auto any = [&](auto... verdicts) { return ((outcome.count(verdicts) > 0) || ...); };
  if (any(diff, nondet, fail, xpass) || outcome.xfail_expired) return kExitDifferent;
  if (any(mistrusted) && !outcome.lenient) return kExitMistrusted;
  if (outcome.environment_mismatch) return kExitEnvironment;
  if (any(not_run, deferred)) return kExitNotRun;
  if (any(nogold, stale, obsolete)) return kExitGolden;

  std::int64_t cells = 0;
  for (const std::int64_t count : outcome.counts) cells += count;
  if (cells > 0 && outcome.count(skip) == cells) return kExitSkipped;
  if (cells == 0 && outcome.empty_share) return kExitOk;
  if (cells == 0 || outcome.compared_tokens == 0) return kExitNothing;
  return kExitOk;
}

int graver_exit_code(int a, int b) {
  static constexpr int kPrecedence[] = {kExitInterrupted, kExitInternal,   kExitUsage,
                                        kExitDifferent,   kExitMistrusted, kExitEnvironment,
                                        kExitNotRun,      kExitGolden,     kExitNothing,
                                        kExitSkipped,     kExitOk};
  const auto* const first = std::find_if(std::begin(kPrecedence), std::end(kPrecedence),
                                         [&](int code) { return code == a || code == b; });
  return first == std::end(kPrecedence) ? a : *first;
}

int joint_exit_code(const std::vector<int>& codes) {
  if (codes.empty()) return kExitNothing;
  int out = codes.front();
  for (const int code : codes) {
    const bool fine = std::min(out, code) == kExitOk && std::max(out, code) == kExitSkipped;
    out = fine ? int(kExitOk) : graver_exit_code(out, code);
  }
  return out;
}

std::string unselected_text(std::int64_t unselected, std::int64_t selected) {
  return std::to_string(unselected) + " of " + std::to_string(unselected + selected) +
         " cells were not selected";
}

double seen_fault_rate(std::int64_t executions) {
  if (executions <= 0) return 1;
  return 1 - std::pow(0.05, 1 / double(executions));
}

}  // namespace isobit
