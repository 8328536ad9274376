// `isobit repro`: executes one cell again, with the cells that its contract compares it with.
#include <algorithm>
#include <set>

#include "harness/cli/verbs/common.h"
#include "harness/cli/verbs/verbs.h"
#include "harness/execute/plan.h"
#include "harness/matrix/matrix.h"
#include "runtime/base/words.h"

namespace isobit::commands {
namespace {

/// Roots of the newest finished executions, as far as the database has them.
std::string stored_root(Store* store, const Cell& cell) {
  if (store == nullptr) return "";
  const auto cells = store->history(cell.hash);
  if (!cells) return "";
  for (const CellInfo& stored : *cells) {
    if (!stored.pending) return to_hex(stored.root);
  }
  return "";
}

/// In every group of the cell: the first other cell, and the first whose stored bits differ.
std::set<std::string> companions(const Scenario& scenario, const Matrix& matrix, int wanted,
                                 Store* store) {
  std::set<std::string> hashes;
  const std::string root = stored_root(store, matrix.cells[std::size_t(wanted)]);
  for (const Group& group : groups_of(scenario, matrix)) {
    if (std::find(group.cells.begin(), group.cells.end(), wanted) == group.cells.end()) continue;
    bool first = true, different = !root.empty();
    for (const int i : group.cells) {
      if (i == wanted) continue;
      const Cell& other = matrix.cells[std::size_t(i)];
      const std::string other_root = different ? stored_root(store, other) : "";
      const bool differs = !other_root.empty() && other_root != root;
      if (first || differs) hashes.insert("/" + other.hash);
      first = false;
      if (differs) different = false;
    }
  }
  return hashes;
}

struct Target {
  std::string path, cell;
  std::vector<std::string> overrides;
};

/// From `repro SCENARIO --cell CELL`, or `repro CELL` with what the database knows.
Result<Target> target_of(const Arguments& arguments) {
  const std::vector<std::string> cells = arguments.all("cell");
  if (!cells.empty()) {
    if (cells.size() > 1) return Error{"one cell at a time", "--cell"};
    return Target{arguments.words[0], cells[0], arguments.all("set")};
  }
  auto store = open_database(arguments);
  ISOBIT_TRY(store);
  auto cell = find_cell(**store, arguments.words[0]);
  ISOBIT_TRY(cell);
  if (!cell->imported.empty()) {
    return Error{"was imported from " + cell->imported +
                     ": nothing here can repeat it, only who recorded it; `isobit repro SCENARIO "
                     "--cell CELL` executes what stands for this cell here",
                 cell->name};
  }
  auto run = (*store)->run(cell->run);
  ISOBIT_TRY(run);
  return Target{(*run)->scenario_path, "/" + cell->hash, (*run)->overrides};
}

}  // namespace

Result<int> repro(const Arguments& arguments) {
  auto target = target_of(arguments);
  ISOBIT_TRY(target);
  auto scenario = load_scenario(target->path, target->overrides);
  ISOBIT_TRY(scenario);
  auto matrix = expand(*scenario, true);
  ISOBIT_TRY(matrix);
  const auto found = cell_named(*matrix, target->cell);
  ISOBIT_TRY(found);
  if (*found < 0) {
    return Error{in_quotes(target->cell) + " is no cell of this scenario; `isobit list " +
                     target->path + "` shows them",
                 target->path};
  }
  const Cell& cell = matrix->cells[std::size_t(*found)];
  std::vector<std::string> line{"isobit", "repro", target->path, "--cell", "/" + cell.hash};
  for (const std::string& set : target->overrides) line.insert(line.end(), {"--set", set});
  const EngineEntry* engine = find_engine(cell.at("engine").head);
  const bool external = engine != nullptr && engine->external;
  if (external || arguments.has("allow-external")) line.emplace_back("--allow-external");
  if (arguments.has("dry-run")) {
    print(shell_line(line) + "\n");
    return int(kExitOk);
  }
  complain(shell_line(line));
  auto options = run_options(arguments);
  ISOBIT_TRY(options);
  const auto store = open_database(arguments);
  const std::set<std::string> others =
      companions(*scenario, *matrix, *found, store ? store->get() : nullptr);
  options->scenarios = {target->path};
  options->overrides = target->overrides;
  options->cells.assign(others.begin(), others.end());
  options->cells.push_back("/" + cell.hash);
  options->command_line = shell_line(line);
  options->update = "none";
  options->fresh = true;
  options->allow_large = true;
  options->verbose = !options->quiet;
  return run_scenarios(*options, arguments.all("report"), arguments.has("json"),
                       wants_color(arguments));
}

}  // namespace isobit::commands
