// An earlier run, in this database or another, as what a run is judged by (`check --baseline`).
#pragma once

#include <map>
#include <string>

#include "harness/judge/judge.h"
#include "harness/store/store.h"

namespace isobit {

struct StoredBaseline {
  Baseline baseline;
  RunInfo run;
  std::map<std::string, CellInfo> cells;  // by Cell::hash
};

/// `word`: RUN (12, last, last~1) in `database`, FILE (another database: its newest finished run of
/// the scenario), or FILE:RUN. `last` counts finished runs of this scenario that ended with 0 or 5.
/// Errors: no such run, one of another scenario, one that has not ended, rows that are damaged.
Result<StoredBaseline> load_baseline(const std::string& word, const std::string& scenario,
                                     const std::string& database);

}  // namespace isobit
