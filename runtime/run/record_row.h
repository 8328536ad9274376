// A row's best entries as a trace keeps them. Callers: whoever makes a TokenRecord of a row.
#pragma once

#include "runtime/backend.h"
#include "runtime/trace.h"

namespace isobit {

/// Fills the record's best entries and its margin; a row of one entry has no margin.
void keep_top(const TopEntries& top, TokenRecord& token);

}  // namespace isobit
