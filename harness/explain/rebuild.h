// A stored cell brought back to life: its scenario, model and matrix, to execute it again by value.
// For the verbs (show --logits, diff of cells).
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "harness/execute/executor.h"
#include "harness/store/store.h"

namespace isobit {

/// Not moved once made: cells and jobs point into it.
struct Rebuilt {
  Scenario scenario;
  Matrix matrix;
  Session session;
};

/// The scenario as the run stored it, with its overrides; the cell's model and the prompts as they
/// are now. An error when they cannot be opened, or the cell is none of the scenario any more.
Result<std::unique_ptr<Rebuilt>> rebuild(const RunInfo& run, const CellInfo& stored);
/// The cell of this meaning, or an error.
Result<const Cell*> cell_of(const Rebuilt& rebuilt, const CellInfo& stored);

/// Executes a stored cell again and gives back the captured rows. `ops`: also record every
/// operation. Teacher-forced cells are fed what the stored trace was fed. The result's trace tells
/// whether the bits are still those that were stored.
Result<JobResult> execute_again(Rebuilt& rebuilt, const CellInfo& stored, const CellTrace& trace,
                                const std::vector<std::pair<int, std::int64_t>>& capture, bool ops);

}  // namespace isobit
