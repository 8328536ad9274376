// What the judge's steps share: the input, the results so far, and how a graver verdict replaces a
// lighter one. Private to harness/judge.
#pragma once

#include <set>

#include "harness/judge/judge.h"
#include "runtime/base/interrupt.h"

namespace isobit::judge_steps {

struct Judging {
  explicit Judging(const JudgeInput& input) : in(input), compared(input.cells.size()) {
    out.cells.resize(input.cells.size());
  }
  [[nodiscard]] const JudgeCell& cell(int i) const { return in.cells[std::size_t(i)]; }
  [[nodiscard]] std::string name(int i) const { return in.matrix.cells[std::size_t(i)].name(); }
  CellResult& result(int i) { return out.cells[std::size_t(i)]; }
  [[nodiscard]] const CellTrace& trace(int i) const { return cell(i).attempts.front(); }

  /// The cell's verdict becomes `next` when that is graver.
  void raise(int i, const Judgement& next);
  /// Keeps the first difference that is found of a cell.
  void note_difference(int i, const Comparison& comparison, const std::string& against, int base);

  /// An interrupt since judging began; one before it leaves few cells, which are judged.
  [[nodiscard]] bool stopped() const { return !interrupted_before && interrupted != 0; }

  const JudgeInput& in;
  Judged out;
  const bool interrupted_before = interrupted != 0;
  std::set<int> strict;        // cells under a same_bits rule
  std::vector<bool> compared;  // by cell: with anything
};

/// One group of one rule: compares its cells, raises their verdicts.
GroupResult judge_group(Judging& all, const Group& group);
/// What the entries of `measure` ask. No verdict comes of it but MISTRUSTED, of cells whose equal
/// bits have distances: then the harness is wrong.
std::vector<MeasuredGroup> measure_groups(Judging& all);
/// The pairs of a measured group, behind its identity control (measured_pairs.cc).
void measure_pairs(Judging& all, const Measure& measure, const Group& group,
                   MeasuredGroup& measured);
/// Every prompt of every cell with a golden class, and golden blocks that nobody asks for.
void judge_goldens(Judging& all);

/// Every cell against the same cell of an earlier run.
void judge_baseline(Judging& all);

}  // namespace isobit::judge_steps
