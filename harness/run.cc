// The recipe, one line a step.

#include "harness/run.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>

#include "harness/run_steps.h"
#include "runtime/base/interrupt.h"

namespace isobit {

Result<void> run_all(ScenarioRun& run, const std::string& path) {
  if (auto ok = load(run, path); !ok) return ok;
  if (auto ok = select_cells(run); !ok) return ok;
  if (run.options->dry_run) {
    judge_cells(run);  // nothing ran: NOT-RUN, or SKIP with the reason
    return {};
  }
  if (auto ok = open_records(run); !ok) return ok;
  if (auto ok = reuse_stored(run); !ok) return ok;
  if (auto ok = execute_cells(run); !ok) return ok;
  judge_cells(run);
  if (auto ok = explain_differences(run); !ok) return ok;
  if (auto ok = update_pending(run); !ok) return ok;
  return {};
}

namespace {

void add(RunOutcome& total, const RunOutcome& one) {
  for (int v = 0; v < kVerdicts; ++v) total.counts[std::size_t(v)] += one.counts[std::size_t(v)];
  total.interrupted |= one.interrupted;
  total.internal_error |= one.internal_error;
  total.environment_mismatch |= one.environment_mismatch;
  total.xfail_expired |= one.xfail_expired;
  total.compared_tokens += one.compared_tokens;
  total.lenient = one.lenient;
}

}  // namespace

Result<Report> run_scenario(const std::string& path, const RunOptions& options) {
  ScenarioRun run;
  run.options = &options;
  if (auto ok = run_all(run, path); !ok) return ok.error();
  Report report = make_report(run);
  report.exit_code = exit_code(outcome_of(run));
  if (!options.dry_run) {
    if (auto ok = record_verdicts(run, report.exit_code); !ok) return ok.error();
  }
  return report;
}

int run_scenarios(const RunOptions& options, const std::vector<std::string>& reports, bool json,
                  bool color) {
  install_interrupt_handler();
  std::vector<Report> done;
  RunOutcome total;
  bool usage_error = false;
  for (const std::string& path : options.scenarios) {
    ScenarioRun run;
    run.options = &options;
    if (auto ok = run_all(run, path); !ok) {
      std::fprintf(stderr, "isobit: %s\n", ok.error().text().c_str());
      usage_error = true;
      continue;
    }
    Report report = make_report(run);
    const RunOutcome outcome = outcome_of(run);
    report.exit_code = exit_code(outcome);
    if (!options.dry_run) {
      if (auto ok = record_verdicts(run, report.exit_code); !ok) {
        std::fprintf(stderr, "isobit: %s\n", ok.error().text().c_str());
        total.internal_error = true;
      }
    }
    add(total, outcome);
    const TerminalStyle style{color, options.quiet, options.verbose, 100};
    const std::string text = json ? render_json(report) : render_terminal(report, style);
    std::fwrite(text.data(), 1, text.size(), stdout);
    std::fflush(stdout);
    done.push_back(std::move(report));
    if (interrupted) break;
  }
  for (const std::string& target : reports) {
    if (auto ok = write_report(target, done); !ok) {
      std::fprintf(stderr, "isobit: %s\n", ok.error().text().c_str());
      usage_error = true;
    }
  }
  total.interrupted |= interrupted != 0;
  const int code = exit_code(total);
  if (usage_error && code != kExitInterrupted && code != kExitInternal) return kExitUsage;
  return code;
}

std::string golden_path(const std::string& scenario_path, const std::string& scenario_name,
                        const std::string& folder) {
  namespace fs = std::filesystem;
  const std::string file = scenario_name + ".golden";
  if (!folder.empty()) return (fs::path(folder) / file).string();
  std::error_code ignored;
  const fs::path start = fs::absolute(scenario_path, ignored).parent_path();
  for (fs::path at = start; !at.empty(); at = at.parent_path()) {
    if (fs::is_directory(at / "golden", ignored)) return (at / "golden" / file).string();
    if (at == at.root_path()) break;
  }
  return (start / "golden" / file).string();
}

std::string pending_path(const std::string& database, const std::string& scenario_name) {
  const std::filesystem::path folder = std::filesystem::path(database).parent_path();
  return (folder / "pending" / (scenario_name + ".golden")).string();
}

}  // namespace isobit
