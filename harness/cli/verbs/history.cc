// `isobit history`: the executions of a cell, or the runs of the database.
#include <filesystem>

#include "harness/cli/verbs/common.h"
#include "harness/cli/verbs/verbs.h"

namespace isobit::commands {
namespace {

std::string commit_text(const RunInfo& run) {
  return run.commit.empty() ? "-" : run.commit.substr(0, 12) + (run.dirty ? "+" : "");
}

int list_runs(const std::vector<RunInfo>& runs, bool json) {
  Json out = Json::array();
  std::vector<std::vector<std::string>> rows{
      {"run", "started", "exit", "commit", "scenario", "command"}};
  for (const RunInfo& run : runs) {
    out.push_back({{"run", run.id},
                   {"scenario", run.scenario},
                   {"path", run.scenario_path},
                   {"started", run.started},
                   {"finished", run.finished},
                   {"exit_code", run.exit_code},
                   {"commit", run.commit},
                   {"dirty", run.dirty},
                   {"unseed", run.unseed},
                   {"command", run.command}});
    rows.push_back({std::to_string(run.id), run.started,
                    run.finished.empty() ? "unfinished" : std::to_string(run.exit_code),
                    commit_text(run), shown_text(run.scenario), shown_text(run.command)});
  }
  if (json)
    print_json({{"format", kOutputFormat}, {"runs", out}});
  else
    print(table(rows));
  return runs.empty() ? kExitNothing : kExitOk;
}

}  // namespace

Result<int> history(const Arguments& arguments) {
  auto store = open_database(arguments);
  ISOBIT_TRY(store);
  const bool json = arguments.has("json");
  if (arguments.words.empty()) {
    auto runs = (*store)->runs();
    ISOBIT_TRY(runs);
    return list_runs(*runs, json);
  }
  auto cells = (*store)->history(arguments.words[0]);
  ISOBIT_TRY(cells);
  if (cells->empty()) {
    auto cell = find_cell(**store, arguments.words[0]);
    return cell ? Error{"no cell", arguments.words[0]} : cell.error();
  }
  Json out = Json::array();
  std::vector<std::vector<std::string>> rows{
      {"run", "started", "commit", "root", "bits", "verdict"}};
  for (std::size_t i = 0; i < cells->size(); ++i) {
    const CellInfo& cell = (*cells)[i];
    auto run = (*store)->run(cell.run);
    ISOBIT_TRY(run);
    std::string bits = cell.pending            ? "pending"
                       : cell.source != 0      ? "reused"
                       : cell.imported.empty() ? "executed"
                                               : "imported from " + shown_text(cell.imported);
    std::size_t older = i + 1;
    while (older < cells->size() && (*cells)[older].pending) ++older;
    const bool changed =
        !cell.pending && older < cells->size() && (*cells)[older].root != cell.root;
    if (changed) bits += ", changed";
    Json one = {{"run", cell.run},
                {"attempt", cell.attempt},
                {"started", (*run)->started},
                {"commit", (*run)->commit},
                {"dirty", (*run)->dirty},
                {"root", cell.pending ? Json(nullptr) : Json(to_hex(cell.root))},
                {"pending", cell.pending},
                {"cached", cell.source != 0},
                {"imported", cell.imported},
                {"changed", changed}};
    add_verdict(cell, one);
    out.push_back(std::move(one));
    rows.push_back({std::to_string(cell.run), (*run)->started, commit_text(**run),
                    cell.pending ? "-" : to_hex(cell.root).substr(0, 16), bits, verdict_of(cell)});
  }
  const std::string& name = cells->front().name;
  if (json)
    print_json({{"format", kOutputFormat}, {"name", name}, {"history", out}});
  else
    print(shown_text(name) + "\n" + table(rows));
  return int(kExitOk);
}

}  // namespace isobit::commands
