// Values and place inside the model of a difference between two stored cells. For the verb diff.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "harness/judge/compare.h"
#include "harness/store/store.h"

namespace isobit {

/// Distances over the logits that both rows stored (the largest few of each), as if there were no
/// others.
struct StoredDistance {
  int logits = 0;  // that both have; with fewer than two there is no distance
  RowDistance distance;
};

struct ValueDifference {
  bool has_distance = false;
  bool same_bits = true;                 // executing again gave the stored digests
  RowDistance distance;                  // of the first row that both have and that differs
  std::optional<Location> location;      // first differing layer and operation
  bool location_recomputed = false;      // found by executing again, not from stored observations
  std::optional<StoredDistance> stored;  // of that row, where executing again gave no values
  std::vector<std::string> notes;        // what could not be found, and why
};

StoredDistance stored_distance(const TokenRecord& a, const TokenRecord& b);
/// "max ULP 12, KL 1.2e-05 over the 8 stored logits of both, margin 0.5 / 0.3"
std::string text_of(const StoredDistance& distance);

/// Looks at the first differing row of `first`. Stored observations are used where they are there;
/// with `execute`, both cells are executed again for the values (and the operations, when those
/// were not stored). What cannot be executed any more is a note, not an error.
Result<ValueDifference> explain_pair(Store& store, const CellInfo& a, const CellInfo& b,
                                     const std::vector<Store::TokenDifference>& first,
                                     bool execute);

}  // namespace isobit
