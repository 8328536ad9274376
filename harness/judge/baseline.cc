// Cells against those of an earlier run.
#include <algorithm>

#include "harness/judge/steps.h"

namespace isobit::judge_steps {
namespace {

void judge_cell(Judging& all, int i) {
  const Baseline& baseline = *all.in.baseline;
  const auto before = baseline.cells.find(all.in.matrix.cells[std::size_t(i)].hash);
  if (before == baseline.cells.end()) {
    all.raise(i, {Verdict::nogold, Severity::none,
                  baseline.name + ", the baseline, has no finished execution of this cell"});
    return;
  }
  if (!before->second.fault.empty()) {
    all.raise(i, {Verdict::nogold, Severity::none,
                  "was " + before->second.fault + " in " + baseline.name +
                      ": that is no baseline for this cell"});
    return;
  }
  // What a baseline says of a row is what must come again, no less.
  const Evidence given = std::max(evidence_named(all.trace(i).observed.evidence),
                                  evidence_named(before->second.trace.observed.evidence));
  const Comparison c =
      compare(all.trace(i), before->second.trace, all.in.scenario.min_tokens, given);
  all.compared[std::size_t(i)] = true;
  all.out.tokens_compared += c.tokens;
  if (!c.first) {
    if (!c.mistrust.empty()) all.raise(i, {Verdict::mistrusted, Severity::none, c.mistrust});
    return;
  }
  const std::string place =
      c.first->position < 0 ? c.first->what : "position " + std::to_string(c.first->position);
  all.raise(i, {Verdict::diff, c.severity,
                "differs from the baseline, " + baseline.name + ", at prompt " +
                    c.first->prompt_id + ", " + place});
  all.note_difference(i, c, "baseline " + baseline.name, -1);
}

}  // namespace

void judge_baseline(Judging& all) {
  for (int i = 0; i < int(all.in.cells.size()) && !all.stopped(); ++i) {
    if (is_comparable(all.cell(i), all.strict.count(i) != 0)) judge_cell(all, i);
  }
}

}  // namespace isobit::judge_steps
