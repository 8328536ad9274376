// The steps of run.cc, one function each, and the value that travels through them.
// Callers: run.cc, bless.cc.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "harness/judge/judge.h"
#include "harness/run.h"

namespace isobit {

/// Everything one scenario's run knows. Filled from top to bottom by the steps.
struct ScenarioRun {
  const RunOptions* options = nullptr;
  std::chrono::steady_clock::time_point started = std::chrono::steady_clock::now();

  Scenario scenario;  // load
  std::optional<Session> session;
  Matrix matrix;  // select: only selected cells
  std::int64_t unselected = 0;
  std::vector<JudgedCell> cells;     // by matrix.cells
  std::vector<std::string> recipes;  // cell recipes
  std::vector<Sha256> keys;
  bool filtered = false;

  std::unique_ptr<Store> store;  // open_records
  RunInfo run;
  std::vector<CellInfo> records;  // by matrix.cells, first attempts
  std::string golden_file;
  GoldenFile golden;

  bool interrupted = false, out_of_time = false;
  std::int64_t executed = 0, reused = 0;
  /// Token ids that teacher-forced cells are fed, by precision, then by prompt.
  std::map<std::string, std::vector<std::vector<std::int32_t>>> taught;
  std::map<std::tuple<int, int, int>, WithinResult> within;
  JudgeOutput judged;
  std::vector<std::string> notes;
};

/// Every step below up to the pending area; recording the verdicts is left to the caller.
Result<void> run_all(ScenarioRun& run, const std::string& path);

Result<void> load(ScenarioRun& run, const std::string& path);
Result<void> select_cells(ScenarioRun& run);
Result<void> open_records(ScenarioRun& run);
/// Takes finished cells with the same execution key from the store.
Result<void> reuse_stored(ScenarioRun& run);
Result<void> execute_cells(ScenarioRun& run);
/// Re-executes the first cells found different, for the values around their divergence.
Result<void> explain_differences(ScenarioRun& run);
void judge_cells(ScenarioRun& run);
Result<void> record_verdicts(ScenarioRun& run, int exit_code);
/// Fills the pending area as --update says.
Result<void> update_pending(ScenarioRun& run);
Report make_report(ScenarioRun& run);
RunOutcome outcome_of(const ScenarioRun& run);

/// Cells that a `within` rule needs by value.
std::vector<bool> needs_values(const ScenarioRun& run);
/// UTC, "2026-11-22T13:40:00Z".
std::string utc_now();

}  // namespace isobit
