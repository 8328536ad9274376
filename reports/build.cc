// Stored values to what renderers need: labels of classes, counts, repro lines.
#include "reports/build.h"

#include <map>
#include <nlohmann/json.hpp>

#include "runtime/base/words.h"

namespace isobit {
namespace {

/// "A", "B", …, "Z", "AA", …: the n-th class from 0.
std::string class_name(std::size_t n) {
  std::string out(1, char('A' + n % 26));
  for (n /= 26; n > 0; n = (n - 1) / 26) out.insert(out.begin(), char('A' + (n - 1) % 26));
  return out;
}

bool gave_bits(const CellInfo& cell) {
  return !cell.pending &&
         (cell.status == CellStatus::ok || cell.status == CellStatus::recomputed_differs);
}

/// Cells with equal bits share a label, by first appearance; "!": it failed, "-": it did not run.
class ClassLabels {
 public:
  std::string of(const CellInfo& cell) {
    if (cell.pending) return "-";
    if (!gave_bits(cell)) return "!";
    return class_name(seen_.emplace(cell.root, seen_.size()).first->second);
  }

 private:
  std::map<Sha256, std::size_t> seen_;
};

/// A JSON object of texts.
std::map<std::string, std::string> texts_of(const std::string& text) {
  std::map<std::string, std::string> out;
  const auto json = nlohmann::json::parse(text, nullptr, false);
  if (!json.is_object()) return out;
  for (const auto& [name, value] : json.items()) {
    if (value.is_string()) out[name] = value.get<std::string>();
  }
  return out;
}

ReportCell report_cell(const RunInfo& run, const CellInfo& stored) {
  ReportCell out;
  out.name = stored.name.substr(0, stored.name.rfind(" /"));  // the hash has a field of its own
  out.hash = stored.hash;
  out.axes = texts_of(stored.axes_json);
  out.verdict = stored.judgement.verdict;
  out.severity = stored.judgement.severity;
  out.reason = stored.judgement.reason;
  if (!stored.judged) {
    out.verdict = Verdict::not_run;
    out.reason = stored.pending ? "the run ended before" : "not judged";
  }
  out.cached = stored.source != 0;
  out.cached_date = stored.pending ? "" : stored.source_date;
  out.seconds = stored.seconds;
  if (!stored.pending) out.root = to_hex(stored.root).substr(0, 16);
  out.virtual_ranks = stored.virtual_ranks;
  out.tokens = stored.tokens;
  out.divergence = stored.difference;
  out.score = stored.score;
  out.imported = stored.imported;
  if (!stored.imported.empty()) return out;  // nothing here repeats it
  std::vector<std::string> line{"isobit", "repro", run.scenario_path, "--cell",
                                "/" + stored.hash.substr(0, 8)};
  for (const std::string& set : run.overrides) line.insert(line.end(), {"--set", set});
  // It is executed with the cells that it is compared with: these may run other people's code.
  constexpr const char* kLeave = "--allow-external";
  if (run.command.find(kLeave) != std::string::npos) line.emplace_back(kLeave);
  out.repro = shell_line(line);
  return out;
}

void add_execution(const CellCost& stored, ReportCost& cost) {
  const Observed& ran = stored.observed;
  if (cost.executions.empty()) {
    cost.weight_bytes = ran.weight_bytes;
    cost.cache_bytes = ran.kv_bytes;
    cost.moved_bytes = ran.bytes_moved;
    cost.on_gpu = ran.device != "cpu";
  }
  if (cost.energy_source.empty()) cost.energy_source = ran.energy_source;
  cost.executions.push_back(
      {stored.seconds, stored.prompt_tokens, stored.tokens, ran.peak_bytes, ran.energy_mj});
}

/// By hash: all attempts of a cell.
Result<std::map<std::string, ReportCost>> costs_of(Store& store, std::int64_t run,
                                                   const std::vector<CellInfo>& cells) {
  auto stored = store.costs(run);
  ISOBIT_TRY(stored);
  std::map<std::int64_t, const CellInfo*> by_id;
  for (const CellInfo& cell : cells) by_id[cell.id] = &cell;
  std::map<std::string, ReportCost> out;
  for (const CellCost& cost : *stored) add_execution(cost, out[by_id.at(cost.cell)->hash]);
  return out;
}

/// Exit code of a run that was killed before it had one.
int exit_code_of(const RunInfo& run) {
  return run.exit_code < 0 ? int(kExitNotRun) : run.exit_code;
}

}  // namespace

Result<Report> build_report(Store& store, std::int64_t id, bool with_detail) {
  auto run = store.run(id);
  ISOBIT_TRY(run);
  if (!*run) return Error{"there is no run " + std::to_string(id), "report"};
  const RunInfo& info = **run;
  auto cells = store.cells(id);
  ISOBIT_TRY(cells);
  auto groups = store.groups(id);
  ISOBIT_TRY(groups);
  auto measured = store.measured(id);
  ISOBIT_TRY(measured);

  Report report;
  report.scenario = info.scenario;
  report.question = info.question;
  report.path = info.scenario_path;
  report.command = info.command;
  report.run = info.id;
  report.exit_code = exit_code_of(info);
  report.notes = info.notes;
  report.tokens_compared = info.tokens_compared;
  report.seconds = info.seconds;
  report.groups = std::move(*groups);
  report.cost = info.cost;
  auto costs = report.cost
                   ? costs_of(store, id, *cells)
                   : Result<std::map<std::string, ReportCost>>(std::map<std::string, ReportCost>{});
  ISOBIT_TRY(costs);
  report.measured = std::move(*measured);
  auto scores = store.scores(id);
  ISOBIT_TRY(scores);
  ClassLabels labels;
  std::map<std::string, std::int64_t> executions;  // by hash
  for (const CellInfo& stored : *cells) executions[stored.hash] += gave_bits(stored) ? 1 : 0;
  for (const CellInfo& stored : *cells) {
    const bool imported = !stored.imported.empty();
    report.cells_executed += !stored.pending && stored.source == 0 && !imported ? 1 : 0;
    report.cells_imported += imported ? 1 : 0;
    if (stored.attempt != 1) continue;
    ReportCell cell = report_cell(info, stored);
    cell.class_label = labels.of(stored);
    cell.executions = executions[stored.hash];
    cell.cost = (*costs)[stored.hash];
    cell.scores = std::move(scores->at(report.cells.size()));
    report.cells_cached += cell.cached ? 1 : 0;
    ++report.counts[std::size_t(cell.verdict)];
    report.tokens += cell.tokens;
    report.cell_seconds += stored.seconds;
    report.record_seconds += stored.record_seconds;
    report.cells.push_back(std::move(cell));
  }
  report.counts[std::size_t(Verdict::obsolete)] = info.obsolete;
  report.environment = texts_of(info.environment_json);
  if (with_detail) {
    if (auto ok = read_detail(store, info, *cells, report); !ok) return ok.error();
  }
  return report;
}

}  // namespace isobit
