// A cell's trace and the lines of its prompts to the values of a score. Pure.
//
// Each value is v = sum x / sum w over units; a unit belongs to a prompt line. Its standard error
// is that of a ratio of sums over the N lines that have units, sqrt(N / (N - 1) sum_i (X_i - v
// W_i)^2) / sum W, with X_i and W_i the sums of one line: units of one line (instructions, tokens)
// are not taken as independent. With one line there is none.
#pragma once

#include <string>
#include <vector>

#include "harness/score/line.h"
#include "harness/score/score.h"
#include "harness/verdict.h"
#include "runtime/trace.h"

namespace isobit {

/// One unit: of a share, x is 0 or 1 and w 1.
struct Outcome {
  int line = 0;
  double x = 0, w = 1;
};

struct ScoreOutcomes {
  const ScoreEntry* entry = nullptr;
  std::vector<Outcome> units;  // in the order of the lines; the same for every cell
  std::int64_t left_out = 0;   // lines that are not in it because something of them is not judged
  std::string reason;          // why there is no value; empty: there is one
  bool broken = false;         // because the trace does not have what its prompts ask for
};

/// The values of a score, in the order of the table. `taught`: the cell's value of teacher_forced,
/// which says what text its tokens are of.
std::vector<ScoreOutcomes> evaluate(const ScoreSpec& spec, const std::vector<ScoreLine>& lines,
                                    const CellTrace& trace, const std::string& taught);

/// n, right, value, error, left_out and reason; what a value is compared with is the judge's.
ScoreValue value_of(const ScoreOutcomes& outcomes);

/// Whether some line has what a score needs, and in words what that is.
bool can_score(ScoreKind kind, const std::vector<ScoreLine>& lines);
const char* what_it_needs(ScoreKind kind);

/// Instructions of IFEval that are not judged, by type: "change_case:english_capital 16, …", and
/// of how many lines; empty: all are judged.
std::string not_judged_text(const std::vector<ScoreLine>& lines);

}  // namespace isobit
