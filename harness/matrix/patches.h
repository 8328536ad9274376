// The donor of a patched cell, and what such a cell may ask. Pure.
// Callers: the matrix, recipes, and those that execute.
#pragma once

#include <optional>

#include "harness/matrix/matrix.h"

namespace isobit {

/// What a cell puts in, and how its donor differs; null for one that patches nothing.
const PatchValue* patch_of(const Cell& cell);

/// The cell whose run gives the rows that are put into this one's: without a patch, with the
/// donor's values. Empty: nothing is put in. It has no name of its own and no hash.
std::optional<Cell> donor_of(const Cell& cell);

/// Errors, with the place of the value: donor and cell may draw other tokens, an engine that is not
/// the page's forward pass, a cache in which the rows have no meaning.
Result<void> check_patch(const Scenario& scenario, const Cell& cell);

}  // namespace isobit
