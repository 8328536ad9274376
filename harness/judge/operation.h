// What the judge says of a cell that is one operation, and of a group of them that differ.
// Callers: observed.cc, groups.cc.
#pragma once

#include <string>
#include <vector>

#include "harness/judge/judge.h"

namespace isobit {

/// FAIL when other launches ran than were asked for, MISTRUSTED when an axis was not exercised.
Judgement check_operation_ran(const OperationRequest& asked, const Observed& ran);
/// FAIL when a watched row of a shape was not recorded.
Judgement check_all_rows(const CellTrace& trace);

/// "rows 16 → 17: 5 of 8 rows of shape q_proj differ; again 64 → 300": between which neighbouring
/// numbers of rows the bits of otherwise equal cells change, or empty. Of several series of such
/// cells the one that changes first. `members`: cells that have a trace.
std::string first_change(const JudgeInput& in, const std::vector<int>& members);

}  // namespace isobit
