// Spilled rows of two cells to what a measured pair needs of them.
#pragma once

#include <string>

#include "harness/judge/judge.h"

namespace isobit {

/// A cell whose rows lie on disk.
struct SpilledCell {
  std::string name;
  const CellTrace& trace;
  std::string rows;   // its spill file
  bool wide = false;  // rows of fp64
};

/// Distances of all rows that both cells have and computed from equal tokens: those of a prompt,
/// and behind it up to and including the first whose next token differs. Every row is held against
/// the digest that was recorded of it, where there is one; another row is PairValues::wrong.
/// `head_dim`: of a KV head. Errors: a spill file that is short, an interrupt.
Result<PairValues> measure_rows(const SpilledCell& reference, const SpilledCell& cell,
                                std::int64_t head_dim);

}  // namespace isobit
