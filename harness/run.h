// The recipe: load, plan, look up, compute, judge, explain, record, report. The file to read first.
//
// Every step takes plain values and gives a plain value: Loaded -> Plan -> Records -> Traces ->
// Judged -> what the store holds -> Report. With traces of another program, nothing is computed:
// they are the Traces.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "harness/execute/baseline.h"
#include "harness/execute/compute.h"
#include "reports/report.h"

namespace isobit {

struct RunOptions {
  std::vector<std::string> scenarios;
  std::vector<std::string> overrides;  // --set
  std::string database = ".isobit/isobit.db";
  std::string golden_folder;          // empty: golden/ of the scenario's project
  std::string golden_from;            // Git revision, empty: the working tree
  std::string baseline;               // run or database by which to judge; empty: goldens
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
  bool quiet = false, verbose = false, progress = true;
  std::vector<std::string> require;      // --require gpu,nccl
  int max_skip = -1;                     // --max-skip N
  bool right_environment = true;         // what --require-env found before the run
  std::vector<std::string> traces;       // recorded elsewhere, in place of executions (import)
  std::vector<std::string> trace_cells;  // the cell of each, where they do not say it
  std::string command_line;
  bool judge_goldens = true;
  const ExecuteHooks* hooks = nullptr;  // the selftest's defects
  /// Whether a stored result may stand for an execution at all.
  [[nodiscard]] bool reuses() const { return !fresh && repeat == 1 && !until_fail; }
};

/// All that one scenario's run found, before anything is told.
struct RunResult {
  Loaded loaded;
  Plan plan;
  Traces traces;
  Judged judged;
  Records records;
  std::optional<StoredBaseline> baseline;
  bool by_goldens = true;  // not by a baseline, not by the contract alone
  std::string golden_file;
  GoldenFile golden;
  std::set<GoldenKey> asked;  // asked_key() of the planned cells' blocks, also of cells not run
  bool whole = true;          // the cells are those of the file as written
  RunOutcome outcome;
};

/// One scenario up to its verdicts, recorded but for the end of the run. Errors are usage or
/// environment errors (exit 2).
Result<RunResult> run_to_verdicts(const std::string& path, const RunOptions& options);
/// Records verdicts, groups, notes and the end.
Result<void> record_end(RunResult& run, const RunOptions& options);

/// One scenario, start to end: the report is what `isobit report` makes of the database later.
Result<Report> run_scenario(const std::string& path, const RunOptions& options,
                            bool with_detail = false);
/// All scenarios of the options, rendering each; gives the exit code of the whole.
int run_scenarios(const RunOptions& options, const std::vector<std::string>& reports, bool json,
                  bool color);

// Steps that other commands take too.
/// The scenario with the models of the cells that the options select: others need not be there.
/// With traces of another program, which may be of any cell, it has all.
Result<Loaded> load_selected(const std::string& path, const RunOptions& options);
/// Only the partition left nothing for this run: another one has the cells.
bool empty_share(const RunOptions& options);
/// No two scenarios of the options share a golden file.
Result<void> check_names(const RunOptions& options);
/// The options' filters; reads the database for --failed.
Result<Selection> selection_of(const Scenario& scenario, const RunOptions& options);
/// UTC, "2026-11-22T13:40:00Z".
std::string utc_now();

}  // namespace isobit
