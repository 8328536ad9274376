// The recipe and its small steps.
#include "harness/run.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>

#include "golden/bless.h"
#include "harness/execute/memory.h"
#include "harness/explain/cause.h"
#include "harness/explain/distances.h"
#include "harness/import/import.h"
#include "harness/pending.h"
#include "reports/build.h"
#include "runtime/base/interrupt.h"
#include "runtime/base/text.h"
#include "runtime/base/words.h"

namespace isobit {
namespace {

using Clock = std::chrono::steady_clock;

/// Hashes of the cells that did not pass in the scenario's last run.
Result<std::set<std::string>> failed_cells(const std::string& scenario,
                                           const std::string& database) {
  std::set<std::string> out;
  if (!std::filesystem::exists(database)) return out;
  auto store = Store::open(database, Store::Mode::read_only);
  ISOBIT_TRY(store);
  auto runs = (*store)->runs();
  ISOBIT_TRY(runs);
  const auto last = std::find_if(runs->begin(), runs->end(),
                                 [&](const RunInfo& run) { return run.scenario == scenario; });
  if (last == runs->end()) return out;
  auto cells = (*store)->cells(last->id);
  ISOBIT_TRY(cells);
  for (const CellInfo& cell : *cells) {
    const Verdict v = cell.judgement.verdict;
    const bool fine = v == Verdict::pass || v == Verdict::skip || v == Verdict::xfail;
    if (!cell.judged || !fine) out.insert(cell.hash);
  }
  return out;
}

std::string axes_json(const Cell& cell) {
  nlohmann::json out = nlohmann::json::object();
  for (const auto& [axis, value] : cell.axes) out[axis] = value.text;
  return out.dump();
}

std::string why_empty(const RunOptions& options) {
  if (empty_share(options)) {
    return "part " + std::to_string(options.partition) + " of " +
           std::to_string(options.partitions) + " is empty: there are fewer classes than parts";
  }
  if (options.only_failed) return "no cell failed in the scenario's last run";
  return "no cell matches what was selected" +
         (options.filter.empty() ? std::string() : ": " + options.filter);
}

/// The database with the run and its planned cells. In memory when there is nothing to keep.
Result<Records> open_records(const Loaded& loaded, const Plan& plan, const RunOptions& options,
                             const Environment& here) {
  namespace fs = std::filesystem;
  Records records;
  const auto mode = plan.cells.empty() ? Store::Mode::in_memory : Store::Mode::read_write;
  auto store = Store::open(options.database, mode);
  ISOBIT_TRY(store);
  records.store = std::move(*store);
  const std::string project = fs::path(loaded.scenario.path).parent_path().string();
  const GitState git = git_state(project.empty() ? "." : project);
  RunInfo& run = records.run;
  run.command = options.command_line;
  run.scenario = loaded.scenario.name;
  run.scenario_path = loaded.scenario.path;
  run.scenario_text = loaded.scenario.text;
  run.question = loaded.scenario.question;
  run.cost = loaded.scenario.cost;
  run.overrides = options.overrides;
  Environment environment = with_git(here, git);
  for (const ModelSession& model : loaded.session.models) {
    environment.entries["model." + model.word] = model.inputs.model_digest;
  }
  run.environment_json = environment.to_json();
  run.commit = git.commit;
  run.dirty = git.dirty;
  run.started = utc_now();
  run.notes = loaded.session.warnings();
  if (plan.cells.empty()) run.notes.push_back(why_empty(options));
  if (!plan.cells.empty() && plan.unselected() > 0) {
    run.notes.push_back(unselected_text(plan.unselected(), std::int64_t(plan.cells.size())));
  }
  auto id = records.store->begin_run(run);
  ISOBIT_TRY(id);
  run.id = *id;
  for (std::size_t i = 0; i < plan.cells.size(); ++i) {
    const Cell& cell = plan.matrix.cells[i];
    CellInfo info;
    info.run = run.id;
    info.name = cell.name();
    info.hash = cell.hash;
    info.class_hash = plan.cells[i].class_hash;
    info.class_recipe = plan.cells[i].class_recipe;
    info.axes_json = axes_json(cell);
    info.key = plan.cells[i].key;
    records.cells.push_back(std::move(info));
  }
  if (auto ok = records.store->plan(records.cells); !ok) return ok.error();
  return records;
}

Result<GoldenFile> open_golden(const std::string& file, const std::string& scenario,
                               const RunOptions& options) {
  return options.golden_from.empty() ? read_golden_file(file, scenario)
                                     : read_golden_revision(file, options.golden_from, scenario);
}

constexpr const char* kTooLate = "stopped by --max-time while the model and prompts were loaded";

/// load_selected() within --max-time, of which a few seconds are for it in any case: `--max-time
/// 0s` runs nothing, and tells every cell that it did not run.
Result<Loaded> load_in_time(const std::string& path, const RunOptions& options) {
  constexpr double kLeastSeconds = 10;
  if (options.max_seconds <= 0) return load_selected(path, options);
  const Deadline deadline(std::max(options.max_seconds, kLeastSeconds));
  auto loaded = load_selected(path, options);
  if (!loaded && Deadline::passed()) return Error{kTooLate, path};
  return loaded;
}

/// What the cells will be judged by, beside the contract.
Result<void> open_references(RunResult& run, const RunOptions& options) {
  const Scenario& scenario = run.loaded.scenario;
  run.by_goldens = options.judge_goldens && options.baseline.empty() && !scenario.golden.none;
  if (!options.baseline.empty()) {
    auto baseline = load_baseline(options.baseline, scenario.name, options.database);
    ISOBIT_TRY(baseline);
    run.baseline.emplace(std::move(*baseline));
  }
  if (scenario.golden.none && !options.golden_from.empty()) {
    return Error{"golden: none, and --golden-from: a change must not take its goldens away",
                 scenario.golden.place};
  }
  run.golden_file = golden_path(scenario.path, scenario.name, options.golden_folder);
  if (run.baseline || scenario.golden.none) return {};
  auto golden = open_golden(run.golden_file, scenario.name, options);
  ISOBIT_TRY(golden);
  run.golden = std::move(*golden);
  return {};
}

/// Every report says what stood in for goldens.
void note_references(RunResult& run) {
  std::vector<std::string>& notes = run.records.run.notes;
  const GoldenChoice& golden = run.loaded.scenario.golden;
  if (run.baseline) {
    notes.push_back("judged by " + run.baseline->baseline.name + " of " +
                    run.baseline->run.started + ", not by goldens (--baseline)");
  } else if (golden.none) {
    std::error_code ignored;
    const bool there = std::filesystem::exists(run.golden_file, ignored);
    notes.push_back("golden: none: judged by the contract alone" +
                    (there ? "; " + run.golden_file + " is not looked at" : std::string()));
  } else if (!golden.where.empty()) {
    notes.push_back("goldens only where " + golden.where.text() +
                    "; the other cells are judged by the contract alone");
  }
}

/// Everything, with progress.
Result<Traces> compute_all(RunResult& run, const RunOptions& options, Clock::time_point started) {
  ComputeOptions compute_options;
  compute_options.executor = {options.jobs, options.isolate, run.loaded.scenario.cell_seconds,
                              options.hooks};
  if (run.baseline) {
    for (const auto& [hash, cell] : run.baseline->cells)
      compute_options.compared_with[hash] = cell.source_date;
  }
  compute_options.fresh = !options.reuses();
  compute_options.repeat = options.repeat;
  compute_options.until_fail = options.until_fail;
  compute_options.shuffle = options.shuffle;
  compute_options.shuffle_seed = options.shuffle_seed;
  compute_options.max_fail = options.max_fail;
  compute_options.max_seconds = options.max_seconds;
  compute_options.started = started;
  compute_options.database = options.database;
  std::optional<Progress> progress;
  compute_options.progress = [&](std::int64_t total, std::int64_t done, std::int64_t failed,
                                 const std::string& last) {
    const bool quiet = options.quiet || !options.progress;
    if (!progress) progress.emplace(total, isatty(STDERR_FILENO) != 0, quiet);
    progress->update(done, failed, last);
  };
  auto traces = compute(run.loaded, run.plan, compute_options, run.records);
  if (progress) progress->finish();
  return traces;
}

/// What the requirements of the command line say of the cells that ran.
bool environment_fits(const RunResult& run, const RunOptions& options) {
  std::int64_t skipped = 0;
  bool ran_on_gpu = false, ran_nccl = false, gpu_skipped = false;
  for (std::size_t i = 0; i < run.traces.cells.size(); ++i) {
    const JudgeCell& cell = run.traces.cells[i];
    skipped += run.judged.cells[i].judgement.verdict == Verdict::skip ? 1 : 0;
    if (cell.has_trace()) {
      const Observed& ran = cell.attempts.front().observed;
      ran_on_gpu |= ran.device != "cpu";
      ran_nccl |= ran.transport.starts_with("nccl");
    }
    gpu_skipped |= cell.state == JudgeCell::State::skipped &&
                   run.plan.matrix.cells[i].value("device") != "cpu";
  }
  if (options.max_skip >= 0 && skipped > options.max_skip) return false;
  return std::all_of(options.require.begin(), options.require.end(), [&](const std::string& what) {
    if (what == "gpu") return ran_on_gpu && !gpu_skipped;
    if (what == "nccl") return ran_on_gpu && ran_nccl && !gpu_skipped;
    return true;
  });
}

RunOutcome outcome_of(const RunResult& run, const RunOptions& options) {
  RunOutcome outcome;
  for (const CellResult& cell : run.judged.cells) {
    ++outcome.counts[std::size_t(cell.judgement.verdict)];
  }
  outcome.counts[std::size_t(Verdict::obsolete)] = run.judged.obsolete;
  outcome.interrupted = run.traces.interrupted;
  outcome.lenient = options.lenient;
  outcome.xfail_expired = run.judged.xfail_expired;
  outcome.compared_tokens = run.judged.tokens_compared;
  outcome.empty_share = run.plan.cells.empty() && empty_share(options);
  outcome.environment_mismatch = !options.right_environment || !environment_fits(run, options);
  return outcome;
}

/// A scenario that has no report of its own is in the reports all the same.
Report without_run(const std::string& path, int exit_code, const std::string& why) {
  Report out;
  out.scenario = out.path = path;
  out.exit_code = exit_code;
  out.notes = {why};
  return out;
}

std::string token_text(const ModelSession& model, std::int32_t id) {
  if (!model.tokenizer || id < 0) return "";
  return model.tokenizer->token_bytes(id);
}

void print_out(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

void complain(const Error& error) {
  std::fprintf(stderr, "isobit: %s\n", text::printable(error.text()).c_str());
}

}  // namespace

std::string utc_now() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

bool empty_share(const RunOptions& options) {
  return options.partitions > 1 && options.filter.empty() && options.cells.empty() &&
         !options.only_failed;
}

Result<void> check_names(const RunOptions& options) {
  std::map<std::string, std::string> seen;  // golden file, in lower case -> scenario file
  for (const std::string& path : options.scenarios) {
    const auto scenario = load_scenario(path, options.overrides);
    if (!scenario) continue;  // its own turn will say why
    const std::string golden = golden_path(path, scenario->name, options.golden_folder);
    // Also where a file system takes two names that differ in case alone for one.
    const std::filesystem::path file = golden;
    const std::string name = lower_case(file.filename().string());
    const auto [at, is_new] = seen.emplace((file.parent_path() / name).string(), path);
    if (is_new) continue;
    return Error{"is named '" + scenario->name + "' like " + at->second +
                     ": their goldens would share " + golden,
                 path};
  }
  return {};
}

Result<Loaded> load_selected(const std::string& path, const RunOptions& options) {
  if (!options.traces.empty()) return load(path, options.overrides);
  auto scenario = load_scenario(path, options.overrides);
  ISOBIT_TRY(scenario);
  const auto selection = selection_of(*scenario, options);
  ISOBIT_TRY(selection);
  return load(std::move(*scenario), *selection);
}

Result<Selection> selection_of(const Scenario& scenario, const RunOptions& options) {
  Selection selection{options.filter,    options.cells,      options.only_failed, {},
                      options.partition, options.partitions, options.allow_large};
  if (!options.only_failed) return selection;
  auto failed = failed_cells(scenario.name, options.database);
  ISOBIT_TRY(failed);
  selection.failed = std::move(*failed);
  return selection;
}

namespace {

/// Whoever checks a stranger's scenario does not start a stranger's program.
Result<void> check_external(const Plan& plan) {
  if (external_allowed()) return {};
  for (const Cell& cell : plan.matrix.cells) {
    const EngineEntry* engine = find_engine(cell.at("engine").head);
    if (engine == nullptr || !engine->external) continue;
    return Error{"engine " + in_quotes(cell.value("engine")) +
                     " runs code that is not Isobit's own; --allow-external allows it",
                 cell.at("engine").place};
  }
  return {};
}

}  // namespace

Result<RunResult> run_to_verdicts(const std::string& path, const RunOptions& options) {
  const Clock::time_point started = Clock::now();
  RunResult run;
  auto loaded = load_in_time(path, options);
  ISOBIT_TRY(loaded);
  run.loaded = std::move(*loaded);
  auto imported = read_traces(run.loaded, options.traces, options.trace_cells, options.allow_large);
  ISOBIT_TRY(imported);
  const bool executes = imported->empty();
  auto selection = selection_of(run.loaded.scenario, options);
  ISOBIT_TRY(selection);
  const Environment here = fingerprint();
  auto plan = make_plan(run.loaded, *selection, here);
  ISOBIT_TRY(plan);
  run.plan = std::move(*plan);
  if (auto ok = stand_for(*imported, run.plan); !ok) return ok.error();
  run.asked = asked_blocks(run.loaded, run.plan);
  run.whole = !run.plan.filtered && options.overrides.empty();
  if (auto ok = check_external(run.plan); !ok && executes) return ok.error();
  if (auto ok = open_references(run, options); !ok) return ok.error();
  if (!options.allow_large && executes) {
    auto fits =
        check_memory(run.loaded, run.plan, options.jobs, options.database, options.reuses());
    ISOBIT_TRY(fits);
  }
  if (interrupted != 0) return Error{"interrupted before anything was computed", path};
  auto records =
      open_records(run.loaded, run.plan, options, executes ? here : environment_of(*imported));
  ISOBIT_TRY(records);
  run.records = std::move(*records);
  note_references(run);
  for (std::string& note : notes_of(*imported)) run.records.run.notes.push_back(std::move(note));
  auto traces = executes ? compute_all(run, options, started)
                         : take(std::move(*imported), run.plan, run.records);
  ISOBIT_TRY(traces);
  run.traces = std::move(*traces);
  std::map<std::string, std::vector<std::int32_t>> eos;
  LinesByModel lines;
  for (const ModelSession& model : run.loaded.session.models) {
    eos[model.name] = model.eos;
    lines[model.name] = &model.lines;
  }
  const Baseline* baseline = run.baseline ? &run.baseline->baseline : nullptr;
  run.judged = judge({run.loaded.scenario, run.plan.matrix, run.traces.cells, run.traces.within,
                      run.by_goldens ? &run.golden : nullptr, run.asked, eos,
                      utc_now().substr(0, 10), run.whole, baseline, !options.judge_goldens,
                      &run.traces.ensembles, &run.traces.pairs, &lines});
  run.traces.interrupted |= run.judged.stopped;
  if (!run.traces.interrupted) {
    name_causes(run.golden, run.baseline ? &*run.baseline : nullptr, run.traces, run.records,
                run.judged);
  }
  if (!run.traces.interrupted && executes) {  // only what was executed here can be again
    const ExecutorOptions again{options.jobs, options.isolate, run.loaded.scenario.cell_seconds,
                                options.hooks};
    auto ok = measure_differences(run.loaded, run.plan, run.traces, again, run.judged);
    ISOBIT_TRY(ok);
  }
  run.outcome = outcome_of(run, options);
  run.records.run.seconds = std::chrono::duration<double>(Clock::now() - started).count();
  return run;
}

Result<void> record_end(RunResult& run, const RunOptions& options) {
  RunInfo& info = run.records.run;
  std::string roots;
  for (std::size_t i = 0; i < run.records.cells.size(); ++i) {
    CellInfo& record = run.records.cells[i];
    const CellResult& result = run.judged.cells[i];
    record.judgement = result.judgement;
    record.difference = result.difference;
    const ModelSession& model = run.loaded.session.of(run.plan.matrix.cells[i]);
    record.difference.text_a = token_text(model, result.difference.id_a);
    record.difference.text_b = token_text(model, result.difference.id_b);
    record.score = result.score;
    record.scores = result.scores;
    record.judged = true;
    const JudgeCell& cell = run.traces.cells[i];
    const Sha256 root = cell.has_trace() ? cell_root(cell.attempts.front()) : Sha256{};
    roots.append(reinterpret_cast<const char*>(root.data()), root.size());
  }
  if (auto ok = run.records.store->judge(run.records.cells, run.judged.groups); !ok) return ok;
  if (auto ok = run.records.store->record(info.id, run.judged.measured); !ok) return ok;
  info.notes.insert(info.notes.end(), run.judged.notes.begin(), run.judged.notes.end());
  if (options.shuffle) {
    info.notes.push_back("shuffled with seed " + std::to_string(options.shuffle_seed));
  }
  if (run.traces.out_of_time) info.notes.push_back("stopped by --max-time");
  info.tokens_compared = run.judged.tokens_compared;
  info.obsolete = run.judged.obsolete;
  info.exit_code = exit_code(run.outcome);
  info.unseed = to_hex(sha256(roots.data(), roots.size()));
  if (!run.traces.interrupted) info.finished = utc_now();
  return run.records.store->end_run(info);
}

Result<Report> run_scenario(const std::string& path, const RunOptions& options, bool detail) {
  auto run = run_to_verdicts(path, options);
  ISOBIT_TRY(run);
  if (auto ok = update_pending(*run, options); !ok) {  // the verdict stands
    run->records.run.notes.push_back("no golden block was kept for later: " + ok.error().text());
  }
  if (auto ok = record_end(*run, options); !ok) return ok.error();
  auto report = build_report(*run->records.store, run->records.run.id, detail);
  ISOBIT_TRY(report);
  if (report->cells.empty()) report->run = 0;  // it was kept nowhere
  return report;
}

int run_scenarios(const RunOptions& options, const std::vector<std::string>& reports, bool json,
                  bool color) {
  install_interrupt_handler();
  if (auto ok = check_names(options); !ok) {
    complain(ok.error());
    return kExitUsage;
  }
  std::vector<Report> done, empty;
  const bool only_report = goes_to_standard_output(reports), detail = wants_detail(reports);
  const TerminalStyle style{color, options.quiet, options.verbose, 100};
  for (const std::string& path : options.scenarios) {
    if (interrupted != 0) {
      done.push_back(without_run(path, kExitInterrupted, "interrupted before it began"));
      continue;
    }
    auto result = run_scenario(path, options, detail);
    if (!result) {
      complain(result.error());
      const int why = interrupted != 0                     ? int(kExitInterrupted)
                      : result.error().message == kTooLate ? int(kExitNotRun)
                                                           : int(kExitUsage);
      done.push_back(without_run(path, why, result.error().text()));
      continue;
    }
    if (!json && !only_report) print_out(render_terminal(*result, style));
    (result->cells.empty() ? empty : done).push_back(std::move(*result));
  }
  // A selection that leaves nothing of one scenario is fine while it leaves something of another.
  if (done.empty()) done = std::move(empty);
  if (json) print_out(render_json(done));
  std::vector<int> codes;
  for (const Report& report : done) codes.push_back(report.exit_code);
  int code = joint_exit_code(codes);
  for (const std::string& target : reports) {
    if (auto ok = write_report(target, done); !ok) {
      complain(ok.error());
      code = graver_exit_code(code, kExitUsage);
    }
  }
  return code;
}

}  // namespace isobit
