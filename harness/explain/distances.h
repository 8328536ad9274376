// Values around the differences that a judge found: the first few cells are executed again, with
// the cell each was compared with, for the row where they part.
#pragma once

#include "harness/execute/compute.h"

namespace isobit {

/// Fills distance and severity of differences between cells. What cannot be executed any more
/// leaves its difference without a distance.
Result<void> measure_differences(const Loaded& loaded, const Plan& plan, Traces& traces,
                                 const ExecutorOptions& options, Judged& judged);

}  // namespace isobit
