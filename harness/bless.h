// Goldens are written here and nowhere else: after two identical executed runs, with a reason.
#pragma once

#include "harness/run.h"

namespace isobit {

struct BlessOptions {
  RunOptions run;
  std::string reason, by;
  std::string reviewed;  // review_hash() of the pending blocks: those and no others; empty: all
  bool dry_run = false;  // the cells are executed either way
};
/// Gives an exit code; prints what is new and what changed.
Result<int> bless(const BlessOptions& options);

}  // namespace isobit
