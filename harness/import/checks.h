// A trace's rows against the cell that it stands for. Private to harness/import.
#pragma once

#include <string>

#include "harness/execute/plan.h"
#include "harness/import/trace_file.h"
#include "runtime/trace.h"

namespace isobit {

/// The trace of a cell: every prompt of the scenario, with the prompt's own tokens, from its first
/// row to its end, each row hashed or its digest taken, each greedy token the best of its row.
/// Errors have the line. `path`: of the trace, beside which its files of rows are.
Result<CellTrace> cell_trace(const TraceFile& file, const std::string& path, const Loaded& loaded,
                             const Cell& cell);

}  // namespace isobit
