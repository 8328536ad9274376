// Whether the memory is there that a plan's cells need, asked before the first of them begins.
#pragma once

#include <string>

#include "harness/execute/plan.h"

namespace isobit {

/// Error: `jobs` of the cells that will be executed on the CPU may need more memory together than
/// this process may take; it names the largest cell, the numbers and the ways out. Cells that
/// cannot run here are not counted, nor those whose result is in the database and `reuses` holds.
Result<void> check_memory(const Loaded& loaded, const Plan& plan, int jobs,
                          const std::string& database, bool reuses);

}  // namespace isobit
