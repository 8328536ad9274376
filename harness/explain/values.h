// Values and place inside the model of a difference between two stored cells. For the verb diff.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "harness/judge/compare.h"
#include "harness/store/store.h"

namespace isobit {

struct ValueDifference {
  bool has_distance = false;
  bool same_bits = true;             // executing again gave the stored digests
  RowDistance distance;              // of the first row that both have and that differs
  std::optional<Location> location;  // first differing layer and operation
  bool location_recomputed = false;  // found by executing again, not from stored observations
  std::vector<std::string> notes;    // what could not be found, and why
};

/// Looks at the first differing row of `first`. Stored observations are used where they are there;
/// with `execute`, both cells are executed again for the values (and the operations, when those
/// were not stored). What cannot be executed any more is a note, not an error.
Result<ValueDifference> explain_pair(Store& store, const CellInfo& a, const CellInfo& b,
                                     const std::vector<Store::TokenDifference>& first,
                                     bool execute);

}  // namespace isobit
