// The recipe: load, expand, look up, execute, judge, store, report. The file to read first.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "harness/execute/executor.h"
#include "harness/store/store.h"
#include "reports/report.h"

namespace isobit {

struct RunOptions {
  std::vector<std::string> scenarios;
  std::vector<std::string> overrides;  // --set
  std::string database = ".isobit/isobit.db";
  std::string golden_folder;          // empty: golden/ of the scenario's project
  std::string golden_from;            // Git revision, empty: the working tree
  std::string update = "new";         // none | new | all: fills the pending area only
  std::string filter;                 // -k
  std::vector<std::string> cells;     // --cell: names, hashes, prefixes
  bool only_failed = false;           // --failed: cells not PASS in the last run
  int partition = 1, partitions = 1;  // --partition 2/4, split by class
  double max_seconds = 0;             // --max-time; 0: none
  int repeat = 1;
  bool until_fail = false;
  bool shuffle = false;
  std::uint64_t shuffle_seed = 0;
  int max_fail = 0;  // 0: no limit
  int jobs = 1;
  bool isolate = false;
  bool fresh = false;  // do not reuse stored cells
  bool lenient = false;
  bool allow_large = false;
  bool offline = false;
  bool dry_run = false;  // expand and look up, execute nothing
  bool quiet = false, verbose = false, progress = true;
  std::vector<std::string> require;  // --require gpu,nccl
  int max_skip = -1;                 // --max-skip N
  std::string require_env;           // file of `isobit env --json`
  std::string command = "check";     // "run" or "check", for the record
  std::string command_line;
  /// Selftest only.
  ExecutorOptions sabotage;
  bool judge_goldens = true;
};

/// One scenario, start to end. Errors are usage or environment errors (exit 2).
Result<Report> run_scenario(const std::string& path, const RunOptions& options);
/// All scenarios of the options, rendering each; gives the exit code of the whole.
int run_scenarios(const RunOptions& options, const std::vector<std::string>& reports, bool json,
                  bool color);

/// `golden/` of the project that holds the scenario: the nearest parent folder with a `golden`
/// folder; else `golden` beside the scenario.
std::string golden_path(const std::string& scenario_path, const std::string& scenario_name,
                        const std::string& folder);
/// .isobit/pending/NAME.golden beside the database.
std::string pending_path(const std::string& database, const std::string& scenario_name);

/// Two identical executed runs, then goldens are written with the reason (interface.md, Goldens).
struct BlessOptions {
  RunOptions run;
  std::string reason, by;
  bool dry_run = false;
};
Result<int> bless(const BlessOptions& options);

}  // namespace isobit
