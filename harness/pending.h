// The pending area: golden blocks that a run gave and that wait for a person's decision.
#pragma once

#include "harness/run.h"

namespace isobit {

/// Whether a cell's rows may become goldens: it has a trace and a class, and is no twin, which is
/// judged by what its original gave and never stands for it.
bool gives_goldens(const JudgeCell& cell);
/// A block of each prompt of a cell. REQUIRES: it has a trace and a class.
void add_blocks(const JudgeCell& cell, std::vector<GoldenBlock>& blocks);
/// Fills the area as --update says, and notes it in the run. What other cells left there stays
/// while it still differs from the goldens.
Result<void> update_pending(RunResult& run, const RunOptions& options);
/// Takes away what was blessed and what nobody asks for any more; blocks of other cells wait on.
Result<void> settle_pending(const RunResult& run, const std::vector<GoldenBlock>& blessed,
                            const RunOptions& options);

}  // namespace isobit
