// Traces -> verdicts: requested against observed, the contract, goldens, repeats. Pure.
#pragma once

#include <map>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "golden/golden.h"
#include "harness/judge/compare.h"
#include "harness/judge/pair_rows.h"
#include "harness/matrix/matrix.h"
#include "harness/score/line.h"
#include "harness/verdict.h"
#include "runtime/trace.h"

namespace isobit {

/// A cell as the judge sees it.
struct JudgeCell {
  enum class State { skipped, not_run, executed, cached } state = State::not_run;
  std::string state_reason;         // why it was skipped, or not run
  std::vector<CellTrace> attempts;  // at least one when executed or cached
  std::string class_recipe;         // what its bits may depend on
  std::string class_hash;           // of its goldens; empty: it has none
  bool wants_golden = false;        // the scenario asks for one
  [[nodiscard]] bool has_trace() const { return !attempts.empty(); }
};

/// Engine, device, isa, precision, ranks, threads, batch and cache: FAIL when something else ran
/// than was asked, MISTRUSTED when an axis was not exercised, PASS otherwise. `asks_about_cache`:
/// the scenario names the axis; otherwise replies of one token, which read no cache, are fine.
Judgement check_observed(const GenerateRequest& asked, const CellTrace& trace,
                         bool asks_about_cache = true);
/// Whether a twin ran, which loads no library of its own and stands for another engine.
bool is_twin(const Observed& ran);
/// FAIL when a vendor's engine computed with another library file or core type than those in the
/// recipe of its goldens, e.g. because the file was replaced during the run.
Judgement check_library(const std::string& class_recipe, const CellTrace& trace);
/// FAIL when a prompt stopped before max_new_tokens without an EOS, or positions have holes.
Judgement check_complete(const Scenario& scenario, const Cell& cell, const CellTrace& trace,
                         const std::vector<std::int32_t>& eos);

/// Distances of two cells of a `within` group over all compared rows.
struct WithinResult {
  bool has_values = false;
  std::int64_t tokens = 0, equal_tokens = 0;
  double max_kl = 0, max_abs = 0;
  std::uint64_t max_ulp = 0;
};
/// Cells of a `within` rule's groups, by (rule, cell, later cell): every pair whose bits differ.
using WithinResults = std::map<std::tuple<int, int, int>, WithinResult>;

/// What the rows by value of two cells gave; the first cell is the reference.
struct PairValues {
  std::vector<PairRow> rows;
  std::vector<LayerSum> layers;  // by layer, then site
  VectorErrors keys, values;     // of k_seen and v_seen
  bool one_type = true;          // fp32 and fp64 rows have no ULPs between them
  std::string problem;           // why there is nothing; empty: there is
  std::string wrong;  // the values are not the rows that were recorded: an error of the harness
  bool wrong_reference = false;  // those of the reference are not, else the other cell's
};
/// By reference and cell: every pair that a measured group needs by value (judge/pairs.h).
using PairValueMap = std::map<std::pair<int, int>, PairValues>;

/// What an ensemble of a group measured, or why it could not be.
struct Measured {
  EnsembleResult result;
  std::string problem;  // empty: it was measured
};
/// By rule and first cell of the group.
using EnsembleResults = std::map<std::pair<int, int>, Measured>;

/// An earlier run by which cells are judged instead of goldens.
struct Baseline {
  struct CellOf {
    CellTrace trace;    // without observations
    std::string fault;  // "DIFF": what it was judged to be, when that makes it no reference
  };
  std::string name;                     // "run 12", "run 12 of other.db"
  std::map<std::string, CellOf> cells;  // by Cell::hash
};

/// What scores read of the prompt file, for each model.
using LinesByModel = std::map<std::string, const std::vector<ScoreLine>*>;

struct JudgeInput {
  const Scenario& scenario;
  const Matrix& matrix;
  const std::vector<JudgeCell>& cells;  // by matrix.cells
  const WithinResults& within;
  const GoldenFile* golden = nullptr;  // null: goldens are not judged (differ-only, selftest)
  const std::set<GoldenKey>& asked;    // asked_key() of the blocks that the cells stand for
  /// By the value of axis model: tokens that may end a prompt before max_new_tokens.
  const std::map<std::string, std::vector<std::int32_t>>& eos;
  std::string today;  // YYYY-MM-DD, for xfail.until
  bool whole = true;  // the cells are those of the file as written: a block nobody asks for is
                      // OBSOLETE
  const Baseline* baseline = nullptr;  // null: none
  bool repeats_suffice = false;        // two executions that agree are a comparison: for a blessing
  const EnsembleResults* ensembles = nullptr;  // of the groups of `ensemble`; null: none
  const PairValueMap* pairs = nullptr;         // of the groups of `measure`; null: none
  const LinesByModel* lines = nullptr;         // of the prompts; null: no score but the answers
};

/// What was found out about one cell.
struct CellResult {
  Judgement judgement;
  Difference difference;
  int against = -1;  // cell it was found different from, or -1: golden, or none
  Divergence first;  // place of that difference
  Score score;
  std::vector<ScoreValue> scores;
};

struct Judged {
  std::vector<CellResult> cells;  // by matrix.cells
  std::vector<GroupResult> groups;
  std::vector<MeasuredGroup> measured;
  std::int64_t tokens_compared = 0;
  std::int64_t obsolete = 0;  // golden blocks that no cell asks for
  std::vector<std::string> notes;
  bool xfail_expired = false;
  bool stopped = false;  // by an interrupt: what was not compared by then is MISTRUSTED
};

/// Order of precedence per cell: FAIL, NONDET, DIFF (contract before golden), MISTRUSTED, STALE,
/// NOGOLD, PASS; then xfail.
Judged judge(const JudgeInput& input);

/// Whether two executed cells have the same bits. REQUIRES: both have a trace.
bool same_bits(const JudgeCell& a, const JudgeCell& b);
/// Cells of a group whose traces can be compared: complete, or a control's that differs inside its
/// batch. `strict`: under a same_bits rule, where that is a DIFF of its own.
bool is_comparable(const JudgeCell& cell, bool strict);

}  // namespace isobit
