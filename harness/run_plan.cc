// Steps before anything is computed: load, select, name, look up.

#include <algorithm>
#include <ctime>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <numeric>
#include <set>

#include "harness/environment/environment.h"
#include "harness/run_steps.h"

namespace isobit {
namespace {

/// Union-find over cells: cells that a contract rule compares must stay in one partition.
std::vector<int> components(const ScenarioRun& run) {
  std::vector<int> parent(run.matrix.cells.size());
  std::iota(parent.begin(), parent.end(), 0);
  const auto root = [&parent](int i) {
    while (parent[std::size_t(i)] != i) i = parent[std::size_t(i)];
    return i;
  };
  for (const Group& group : groups_of(run.scenario, run.matrix)) {
    for (const int cell : group.cells) {
      const int a = root(group.cells.front()), b = root(cell);
      parent[std::size_t(std::max(a, b))] = std::min(a, b);
    }
  }
  for (int i = 0; i < int(parent.size()); ++i) parent[std::size_t(i)] = root(i);
  return parent;
}

/// Deals whole classes to partitions, in order of their first cell.
std::vector<bool> in_partition(const ScenarioRun& run) {
  const std::vector<int> component = components(run);
  std::vector<bool> chosen(component.size());
  std::map<int, int> number;
  for (std::size_t i = 0; i < component.size(); ++i) {
    const int n = number.emplace(component[i], int(number.size())).first->second;
    chosen[i] = n % run.options->partitions == run.options->partition - 1;
  }
  return chosen;
}

bool names_cell(const Cell& cell, const std::string& wanted) {
  const std::string name = cell.name();
  if (name == wanted || name.substr(0, name.rfind(" /")) == wanted) return true;
  const std::string hash = wanted.starts_with("/") ? wanted.substr(1) : wanted;
  return hash.size() >= 4 && cell.hash.starts_with(hash);
}

/// Hashes of the cells that did not pass in the scenario's last run.
Result<std::set<std::string>> failed_cells(const ScenarioRun& run) {
  std::set<std::string> out;
  if (!std::filesystem::exists(run.options->database)) return out;
  auto store = Store::open(run.options->database, Store::Mode::read_only);
  ISOBIT_TRY(store);
  auto runs = (*store)->runs();
  ISOBIT_TRY(runs);
  for (const RunInfo& earlier : *runs) {
    if (earlier.scenario != run.scenario.name) continue;
    auto cells = (*store)->cells(earlier.id);
    ISOBIT_TRY(cells);
    for (const CellInfo& cell : *cells) {
      const Verdict v = cell.judgement.verdict;
      if (!cell.judged || (v != Verdict::pass && v != Verdict::skip && v != Verdict::xfail)) {
        out.insert(cell.hash);
      }
    }
    break;
  }
  return out;
}

std::string axes_json(const Cell& cell) {
  nlohmann::json out = nlohmann::json::object();
  for (const auto& [axis, value] : cell.axes) out[axis] = value.text;
  return out.dump();
}

/// Digests of everything that computes: program, loaded libraries, the engine's own libraries and
/// the variables that these read.
std::vector<std::string> binaries_of(const Cell& cell, const std::vector<std::string>& common,
                                     const Environment& here) {
  std::vector<std::string> out = common;
  const bool on_cpu = cell.value("device") == "cpu";
  out.push_back("machine=" +
                (on_cpu ? here.at("cpu") : here.at("gpu") + ", " + here.at("gpu.driver")));
  const EngineEntry* engine = find_engine(cell.at("engine").head);
  for (const std::string& library :
       engine == nullptr ? std::vector<std::string>{} : engine->libraries()) {
    // The fingerprint has hashed the large ones already.
    std::string hex = here.at("lib." + library.substr(library.rfind('/') + 1));
    Sha256 hash{};
    if (hex.empty() && sha256_file(library, hash)) hex = to_hex(hash);
    out.push_back("engine.library=" + hex);
  }
  if (!cell.deterministic()) {
    for (const std::string& variable : library_variables(here)) out.push_back(variable);
  }
  return out;
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

Result<void> load(ScenarioRun& run, const std::string& path) {
  auto scenario = load_scenario(path, run.options->overrides);
  ISOBIT_TRY(scenario);
  run.scenario = std::move(*scenario);
  auto session = open_session(run.scenario);
  ISOBIT_TRY(session);
  run.session.emplace(std::move(*session));
  run.notes = run.session->warnings;
  return {};
}

Result<void> select_cells(ScenarioRun& run) {
  const RunOptions& options = *run.options;
  auto matrix = expand(run.scenario, options.allow_large);
  ISOBIT_TRY(matrix);
  run.matrix = std::move(*matrix);
  auto filter = Filter::parse(options.filter, "-k");
  if (!options.filter.empty() && !filter) return filter.error();
  std::set<std::string> failed;
  if (options.only_failed) {
    auto found = failed_cells(run);
    ISOBIT_TRY(found);
    failed = std::move(*found);
  }
  const std::vector<bool> part = in_partition(run);
  run.filtered = !options.filter.empty() || !options.cells.empty() || options.only_failed ||
                 options.partitions > 1;
  std::vector<Cell> kept;
  for (std::size_t i = 0; i < run.matrix.cells.size(); ++i) {
    const Cell& cell = run.matrix.cells[i];
    const bool named = options.cells.empty() ||
                       std::any_of(options.cells.begin(), options.cells.end(),
                                   [&](const std::string& w) { return names_cell(cell, w); });
    const bool wanted = part[i] && named &&
                        (!options.only_failed || failed.count(cell.hash) != 0) &&
                        (options.filter.empty() || filter->matches(cell.subject()));
    if (wanted) {
      kept.push_back(cell);
    } else {
      ++run.unselected;
    }
  }
  run.matrix.cells = std::move(kept);
  for (std::size_t i = 0; i < run.matrix.cells.size(); ++i) run.matrix.cells[i].index = int(i);

  const std::vector<std::string> common = execution_binaries();
  const Environment here = fingerprint("");
  std::map<std::string, std::vector<std::string>> binaries;  // by engine and device
  for (const Cell& cell : run.matrix.cells) {
    JudgedCell judged;
    judged.cell = &cell;
    judged.state_reason = skip_reason(run.scenario, *run.session, cell);
    if (!judged.state_reason.empty()) judged.state = JudgedCell::State::skipped;
    const std::string recipe = cell_recipe(run.scenario, cell, run.session->inputs);
    const std::string& device = cell.value("device");
    auto& of_engine = binaries[cell.value("engine") + " on " + device];
    if (of_engine.empty()) {
      of_engine = binaries_of(cell, common, here);
    }
    std::vector<std::string> all = of_engine;
    const std::string transport = transport_of(cell);
    if (!transport.empty()) all.push_back(transport);
    run.keys.push_back(execution_key(recipe, all));
    run.recipes.push_back(recipe);
    if (cell.deterministic()) {
      judged.class_recipe = class_recipe(run.scenario, cell, run.session->inputs);
      judged.class_hash = to_hex(recipe_hash(judged.class_recipe));
    }
    run.cells.push_back(std::move(judged));
  }
  return {};
}

Result<void> open_records(ScenarioRun& run) {
  namespace fs = std::filesystem;
  const RunOptions& options = *run.options;
  run.golden_file = golden_path(run.scenario.path, run.scenario.name, options.golden_folder);
  auto golden = options.golden_from.empty()
                    ? read_golden_file(run.golden_file, run.scenario.name)
                    : read_golden_revision(run.golden_file, options.golden_from, run.scenario.name);
  ISOBIT_TRY(golden);
  run.golden = std::move(*golden);

  const fs::path folder = fs::path(options.database).parent_path();
  std::error_code error;
  if (!folder.empty()) fs::create_directories(folder, error);
  if (error) return Error{"cannot make the folder: " + error.message(), folder.string()};
  auto store = Store::open(options.database, Store::Mode::read_write);
  ISOBIT_TRY(store);
  run.store = std::move(*store);

  const std::string project = fs::path(run.scenario.path).parent_path().string();
  const Environment environment = fingerprint(project.empty() ? "." : project);
  run.run.command = options.command_line;
  run.run.scenario = run.scenario.name;
  run.run.scenario_path = run.scenario.path;
  run.run.scenario_text = run.scenario.text;
  run.run.environment_json = environment.to_json();
  run.run.commit = environment.at("git.commit");
  run.run.dirty = environment.at("git.dirty") == "true";
  run.run.started = utc_now();
  auto id = run.store->begin_run(run.run);
  ISOBIT_TRY(id);
  run.run.id = *id;
  for (std::size_t i = 0; i < run.cells.size(); ++i) {
    const Cell& cell = *run.cells[i].cell;
    CellInfo info;
    info.run = run.run.id;
    info.name = cell.name();
    info.hash = cell.hash;
    info.class_hash = run.cells[i].class_hash;
    info.class_recipe = run.cells[i].class_recipe;
    info.axes_json = axes_json(cell);
    info.key = run.keys[i];
    run.records.push_back(std::move(info));
  }
  return run.store->plan(run.records);
}

std::vector<bool> needs_values(const ScenarioRun& run) {
  std::vector<bool> out(run.cells.size());
  for (const Group& group : groups_of(run.scenario, run.matrix)) {
    const Expectation& rule = run.scenario.expect[std::size_t(group.rule)];
    if (rule.kind != Expectation::Kind::within) continue;
    for (const int cell : group.cells) out[std::size_t(cell)] = true;
  }
  return out;
}

Result<void> reuse_stored(ScenarioRun& run) {
  const RunOptions& options = *run.options;
  if (options.fresh || options.repeat > 1 || options.until_fail) return {};
  auto found = run.store->find(run.keys);
  ISOBIT_TRY(found);
  const std::vector<bool> by_value = needs_values(run);
  for (std::size_t i = 0; i < run.cells.size(); ++i) {
    JudgedCell& cell = run.cells[i];
    const auto& stored = (*found)[i];
    if (!stored || cell.state == JudgedCell::State::skipped || by_value[i]) continue;
    auto trace = run.store->trace(*stored, run.scenario.observe != TraceLevel::logits);
    ISOBIT_TRY(trace);
    if (auto ok = run.store->reuse(run.records[i], *stored); !ok) return ok;
    cell.attempts.push_back(std::move(*trace));
    cell.state = JudgedCell::State::cached;
    ++run.reused;
  }
  return {};
}

}  // namespace isobit
