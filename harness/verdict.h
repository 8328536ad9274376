// The closed list of verdicts, their reasons, and the exit codes made of them (interface.md).
//
// Pure values; everyone in harness/ and reports/ may use them.
#pragma once

#include <array>
#include <cstdint>
#include <string>

namespace isobit {

enum class Verdict : std::uint8_t {
  pass,
  diff,
  nondet,
  fail,
  mistrusted,
  nogold,
  stale,
  obsolete,
  xfail,
  xpass,
  skip,
  not_run,
  deferred
};
constexpr int kVerdicts = 13;
/// "PASS", "DIFF", ...
const char* name_of(Verdict verdict);

/// How dangerous a DIFF is for tokens.
enum class Severity : std::uint8_t { none, bits_only, near_tie, flipped };
/// "bits only", "near tie", "flipped", "".
const char* name_of(Severity severity);

struct Judgement {
  Verdict verdict = Verdict::pass;
  Severity severity = Severity::none;
  std::string reason;  // one line; empty for a plain PASS
};

enum ExitCode : int {
  kExitOk = 0,
  kExitDifferent = 1,
  kExitUsage = 2,
  kExitInternal = 3,
  kExitNothing = 4,
  kExitGolden = 5,
  kExitEnvironment = 6,
  kExitMistrusted = 7,
  kExitNotRun = 8,
  kExitSkipped = 77,
  kExitInterrupted = 130,
};

/// What a run knows when it ends; exit_code() applies the precedence
/// 130, 3, 2, 1, 7, 6, 8, 5, 4, 77, 0.
struct RunOutcome {
  std::array<std::int64_t, kVerdicts> counts{};
  bool interrupted = false;
  bool internal_error = false;
  bool environment_mismatch = false;  // --require-env, --require, --max-skip
  bool lenient = false;               // MISTRUSTED only warns
  bool xfail_expired = false;
  std::int64_t compared_tokens = 0;
  [[nodiscard]] std::int64_t count(Verdict v) const { return counts[std::size_t(v)]; }
};
int exit_code(const RunOutcome& outcome);

}  // namespace isobit
