// Rebuilds what a stored cell needs to be executed again (rebuild.h).
#include "harness/explain/rebuild.h"

#include "runtime/base/interrupt.h"

namespace isobit {

Result<std::unique_ptr<Rebuilt>> rebuild(const RunInfo& run, const CellInfo& stored) {
  auto rebuilt = std::make_unique<Rebuilt>();
  auto scenario = parse_scenario(run.scenario_text, run.scenario_path, run.overrides);
  ISOBIT_TRY(scenario);
  rebuilt->scenario = std::move(*scenario);
  auto matrix = expand(rebuilt->scenario, true);
  ISOBIT_TRY(matrix);
  rebuilt->matrix = std::move(*matrix);
  const auto cell = cell_of(*rebuilt, stored);
  ISOBIT_TRY(cell);
  const std::set<std::string> model{(*cell)->value("model")};
  auto session = open_session(rebuilt->scenario, &model);
  ISOBIT_TRY(session);
  rebuilt->session = std::move(*session);
  return rebuilt;
}

Result<const Cell*> cell_of(const Rebuilt& rebuilt, const CellInfo& stored) {
  for (const Cell& cell : rebuilt.matrix.cells) {
    if (cell.hash == stored.hash) return &cell;
  }
  return Error{"its scenario does not expand to this cell any more", stored.name};
}

Result<JobResult> execute_again(Rebuilt& rebuilt, const CellInfo& stored, const CellTrace& trace,
                                const std::vector<std::pair<int, std::int64_t>>& capture,
                                bool ops) {
  if (!stored.imported.empty()) {
    return Error{"was imported from " + stored.imported + ": it cannot be executed here",
                 stored.name};
  }
  const auto cell = cell_of(rebuilt, stored);
  ISOBIT_TRY(cell);
  const std::string why = skip_reason(rebuilt.scenario, rebuilt.session, **cell);
  if (!why.empty()) return Error{"cannot run here: " + why, stored.name};
  Job job;
  job.cell = *cell;
  job.capture = capture;
  if ((*cell)->value("teacher_forced") != "false") {
    for (const PromptTrace& prompt : trace.prompts) {
      job.teacher.emplace_back();
      for (const TokenRecord& token : prompt.tokens) job.teacher.back().push_back(token.fed);
    }
  }
  const TraceLevel level = rebuilt.scenario.observe;
  if (ops) rebuilt.scenario.observe = TraceLevel::ops;
  ExecutorOptions options;
  options.cell_seconds = rebuilt.scenario.cell_seconds;
  std::optional<JobResult> kept;
  const auto done =
      execute(rebuilt.scenario, rebuilt.session, {job}, options, [&](JobResult&& result) {
        kept.emplace(std::move(result));
        return true;
      });
  rebuilt.scenario.observe = level;
  ISOBIT_TRY(done);
  if (!kept || !*done) return Error{"interrupted", stored.name};
  if (kept->trace.status != CellStatus::ok && kept->trace.status != CellStatus::non_finite) {
    return Error{"executing it again failed: " + kept->trace.reason, stored.name};
  }
  return std::move(*kept);
}

}  // namespace isobit
