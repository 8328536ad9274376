// `isobit report`: a stored run told again, as text or as files.
#include "reports/report.h"

#include <algorithm>
#include <map>

#include "harness/cli/verbs/common.h"
#include "harness/cli/verbs/verbs.h"
#include "harness/environment/environment.h"
#include "harness/judge/judge.h"

namespace isobit::commands {
namespace {

/// A run read back: what judge() needs to tell its groups.
struct StoredRun {
  RunInfo info;
  std::vector<CellInfo> cells;  // first attempts, by id
  Scenario scenario;
  Matrix matrix;  // the cells that are in both, in the order of `cells`
  std::vector<JudgedCell> judged;
  std::vector<int> of_matrix;  // index into `cells`
};

Result<void> read_cells(Store& store, StoredRun& run) {
  auto cells = store.cells(run.info.id);
  ISOBIT_TRY(cells);
  for (CellInfo& cell : *cells) {
    if (cell.attempt == 1) run.cells.push_back(std::move(cell));
  }
  auto scenario = parse_scenario(run.info.scenario_text, run.info.scenario_path,
                                 overrides_in(run.info.command));
  ISOBIT_TRY(scenario);
  run.scenario = std::move(*scenario);
  auto matrix = expand(run.scenario, true);
  ISOBIT_TRY(matrix);
  std::map<std::string, const Cell*> by_hash;
  for (const Cell& cell : matrix->cells) by_hash[cell.hash] = &cell;
  for (std::size_t i = 0; i < run.cells.size(); ++i) {
    const auto found = by_hash.find(run.cells[i].hash);
    if (found == by_hash.end()) continue;
    run.matrix.cells.push_back(*found->second);
    run.matrix.cells.back().index = int(run.of_matrix.size());
    run.of_matrix.push_back(int(i));
  }
  return {};
}

Result<void> read_traces(Store& store, StoredRun& run) {
  for (std::size_t i = 0; i < run.of_matrix.size(); ++i) {
    const CellInfo& stored = run.cells[std::size_t(run.of_matrix[i])];
    JudgedCell cell;
    cell.cell = &run.matrix.cells[i];
    cell.class_hash = stored.class_hash;
    cell.class_recipe = stored.class_recipe;
    const bool skipped = stored.judged && stored.judgement.verdict == Verdict::skip;
    cell.state = skipped ? JudgedCell::State::skipped : JudgedCell::State::not_run;
    cell.state_reason = skipped ? stored.judgement.reason : "";
    if (!stored.pending) {
      auto trace = store.trace(stored, false);
      ISOBIT_TRY(trace);
      cell.attempts.push_back(std::move(*trace));
      cell.state = stored.source != 0 ? JudgedCell::State::cached : JudgedCell::State::executed;
    }
    run.judged.push_back(std::move(cell));
  }
  return {};
}

Judgement judgement_of(const CellInfo& cell) {
  if (cell.judged) return cell.judgement;
  return {Verdict::not_run, Severity::none, cell.pending ? "the run ended before" : "not judged"};
}

/// Values are not stored, so a `within` group keeps what its cells were judged when they ran.
void settle_within(ReportGroup& group, const std::map<std::string, Judgement>& verdicts) {
  group.verdict = Verdict::pass;
  group.reason = "as judged when it ran; values are not stored";
  for (const std::string& name : group.cells) {
    const auto found = verdicts.find(name);
    if (found == verdicts.end()) continue;
    const Verdict v = found->second.verdict;
    if (v == Verdict::diff || v == Verdict::fail || v == Verdict::mistrusted) {
      group.verdict = v;
      group.reason = found->second.reason;
    }
  }
}

ReportCell report_cell(const StoredRun& run, const CellInfo& stored) {
  ReportCell out;
  out.name = stored.name;
  out.hash = stored.hash;
  const auto axes = Json::parse(stored.axes_json, nullptr, false);
  if (axes.is_object()) {
    for (const auto& [axis, value] : axes.items()) {
      if (value.is_string()) out.axes[axis] = value.get<std::string>();
    }
  }
  const Judgement judgement = judgement_of(stored);
  out.verdict = judgement.verdict;
  out.severity = judgement.severity;
  out.reason = judgement.reason;
  out.cached = stored.source != 0;
  out.cached_date = stored.source_date;
  out.seconds = stored.seconds;
  if (!stored.pending) out.root = to_hex(stored.root).substr(0, 16);
  std::vector<std::string> line{"isobit", "repro", run.info.scenario_path, "--cell",
                                "/" + stored.hash.substr(0, 8)};
  for (const std::string& set : overrides_in(run.info.command)) {
    line.insert(line.end(), {"--set", set});
  }
  out.repro = shell_line(line);
  return out;
}

void add_judged(const StoredRun& run, Report& report) {
  const std::vector<std::string> letters = class_letters(run.judged);
  for (std::size_t i = 0; i < run.judged.size(); ++i) {
    ReportCell& cell = report.cells[std::size_t(run.of_matrix[i])];
    const JudgedCell& judged = run.judged[i];
    cell.class_label = letters[i];
    if (cell.verdict != Verdict::pass) cell.divergence = judged.divergence;
    if (!judged.has_trace()) continue;
    const CellTrace& trace = judged.attempts.front();
    cell.virtual_ranks = trace.observed.virtual_ranks;
    for (const PromptTrace& prompt : trace.prompts)
      cell.tokens += std::int64_t(prompt.tokens.size());
    report.tokens += cell.tokens;
    report.record_seconds += trace.record_seconds;
  }
}

Result<Report> stored_report(Store& store, const RunInfo& info) {
  StoredRun run;
  run.info = info;
  if (auto ok = read_cells(store, run); !ok) return ok.error();
  if (auto ok = read_traces(store, run); !ok) return ok.error();
  JudgeInput input;
  input.scenario = &run.scenario;
  input.matrix = &run.matrix;
  input.today = info.started.substr(0, 10);
  input.filtered = true;
  const JudgeOutput judged = judge(input, run.judged);

  Report report;
  report.scenario = info.scenario;
  report.question = run.scenario.question;
  report.path = info.scenario_path;
  report.command = "report";
  report.run = info.id;
  report.exit_code = info.exit_code;
  report.tokens_compared = judged.tokens_compared;
  std::map<std::string, Judgement> verdicts;
  for (const CellInfo& cell : run.cells) {
    report.cells.push_back(report_cell(run, cell));
    verdicts[cell.name] = judgement_of(cell);
    ++report.counts[std::size_t(report.cells.back().verdict)];
    report.cells_cached += !cell.pending && cell.source != 0 ? 1 : 0;
    report.cells_executed += !cell.pending && cell.source == 0 ? 1 : 0;
    if (cell.source == 0) report.seconds += cell.seconds;
  }
  add_judged(run, report);
  report.groups = judged.groups;
  for (ReportGroup& group : report.groups) {
    if (group.rule.rfind("within", 0) == 0) settle_within(group, verdicts);
  }
  report.notes.push_back("from the database: run " + std::to_string(info.id) + " of " +
                         info.started + (info.finished.empty() ? ", which did not finish" : ""));
  const auto environment = Environment::from_json(info.environment_json, "");
  if (environment) report.environment = environment->entries;
  return report;
}

}  // namespace

Result<int> report(const Arguments& arguments) {
  auto store = open_database(arguments);
  ISOBIT_TRY(store);
  std::vector<std::string> words = arguments.words;
  if (words.empty()) words.emplace_back("last");
  std::vector<Report> reports;
  bool unfinished = false;
  int worst = kExitOk;
  for (const std::string& word : words) {
    if (!names_run(word)) return Error{"give run numbers, last or last~N", "report"};
    auto run = find_run(**store, word);
    ISOBIT_TRY(run);
    auto one = stored_report(**store, *run);
    ISOBIT_TRY(one);
    unfinished |= run->finished.empty();
    if (one->exit_code > 0 && (worst == kExitOk || one->exit_code == kExitDifferent)) {
      worst = one->exit_code;
    }
    reports.push_back(std::move(*one));
  }
  const TerminalStyle style{wants_color(arguments), arguments.has("quiet"),
                            arguments.has("verbose"), 100};
  for (const Report& one : reports) {
    print(arguments.has("json") ? render_json(one) : render_terminal(one, style));
  }
  for (const std::string& target : arguments.all("report")) {
    if (auto ok = write_report(target, reports); !ok) return ok.error();
  }
  return int(worst == kExitOk && unfinished ? kExitNotRun : worst);
}

}  // namespace isobit::commands
