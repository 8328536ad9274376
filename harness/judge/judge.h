// Traces -> verdicts: requested against observed, the contract, goldens, repeats. Pure.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "golden/golden.h"
#include "harness/judge/compare.h"
#include "harness/matrix/matrix.h"
#include "harness/verdict.h"
#include "reports/report.h"
#include "runtime/trace.h"

namespace isobit {

/// A cell as the judge sees it.
struct JudgedCell {
  const Cell* cell = nullptr;
  enum class State { skipped, not_run, executed, cached } state = State::not_run;
  std::string state_reason;              // why it was skipped
  std::vector<CellTrace> attempts;       // at least one when executed or cached
  std::string class_hash, class_recipe;  // empty: the cell has no golden class
  Judgement judgement;
  ReportDivergence divergence;
  int against = -1;  // cell it was found different from, or -1: golden
  Divergence first;  // place of that difference
  [[nodiscard]] bool has_trace() const { return !attempts.empty(); }
};

/// Engine, device, isa, precision, ranks, threads, batch and cache: FAIL when something else ran
/// than was asked, MISTRUSTED when an axis was not exercised, PASS otherwise.
Judgement check_observed(const GenerateRequest& asked, const CellTrace& trace);
/// FAIL when a prompt stopped before max_new_tokens without an EOS, or positions have holes.
Judgement check_complete(const Scenario& scenario, const Cell& cell, const CellTrace& trace,
                         const std::vector<std::int32_t>& eos);

/// Distances of a `within` pair over all compared rows.
struct WithinResult {
  bool has_values = false;
  std::int64_t tokens = 0, equal_tokens = 0;
  double max_kl = 0, max_abs = 0;
  std::uint64_t max_ulp = 0;
};

struct JudgeInput {
  const Scenario* scenario = nullptr;
  const Matrix* matrix = nullptr;
  const GoldenFile* golden = nullptr;  // null: goldens are not judged (differ-only, selftest)
  std::vector<std::int32_t> eos;       // tokens that may end a prompt before max_new_tokens
  std::string today;                   // YYYY-MM-DD, for xfail.until
  bool filtered = false;               // a filter or partition is active: no OBSOLETE
  /// Values of `within` pairs: (rule, base cell, other cell) -> distances.
  std::map<std::tuple<int, int, int>, WithinResult> within;
};

struct JudgeOutput {
  std::vector<ReportGroup> groups;
  std::int64_t tokens_compared = 0;
  std::int64_t obsolete = 0;  // golden blocks that no cell produces
  std::vector<std::string> notes;
  bool xfail_expired = false;
};

/// Fills judgement and divergence of every cell (same order as matrix.cells) and judges groups.
/// Order of precedence per cell: FAIL, NONDET, DIFF (contract before golden), MISTRUSTED, STALE,
/// NOGOLD, PASS; then xfail.
JudgeOutput judge(const JudgeInput& input, std::vector<JudgedCell>& cells);

/// Cells with equal bits share a letter, by first appearance: "A", "B", …
std::vector<std::string> class_letters(const std::vector<JudgedCell>& cells);

}  // namespace isobit
