// The cells of a plan to traces: stored results where they may stand for an execution, workers for
// the rest, every finished cell recorded at once.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "harness/execute/plan.h"
#include "harness/execute/teachers.h"
#include "harness/judge/judge.h"
#include "harness/store/store.h"

namespace isobit {

struct ComputeOptions {
  ExecutorOptions executor;
  bool fresh = false;  // do not reuse stored cells
  int repeat = 1;
  bool until_fail = false;  // repeat until an attempt differs
  bool shuffle = false;
  std::uint64_t shuffle_seed = 0;
  int max_fail = 0;        // 0: no limit
  double max_seconds = 0;  // since `started`; 0: no limit
  std::chrono::steady_clock::time_point started;
  std::string database;  // spilled rows lie beside it
  /// When the traces that the results will be compared with were executed, by Cell::hash: they
  /// stand for no execution, in whichever copy of the database they are found.
  std::map<std::string, std::string> compared_with;
  /// Told after every cell: how many there are, are done, have failed; the name of the last one.
  std::function<void(std::int64_t total, std::int64_t done, std::int64_t failed,
                     const std::string& last)>
      progress;
};

/// Where a run's cells are recorded.
struct Records {
  std::unique_ptr<Store> store;
  RunInfo run;
  std::vector<CellInfo> cells;  // by plan.cells, first attempts
};

struct Traces {
  std::vector<JudgeCell> cells;  // by plan.cells
  WithinResults within;
  EnsembleResults ensembles;
  PairValueMap pairs;
  Teachers teachers;
  bool interrupted = false, out_of_time = false;
};

/// For every cell of the plan the newest stored execution with its key (Store::find).
Result<std::vector<std::optional<CellInfo>>> find_stored(Store& store, const Plan& plan);

Result<Traces> compute(const Loaded& loaded, const Plan& plan, const ComputeOptions& options,
                       Records& records);

}  // namespace isobit
