// Selection, skip reasons, recipes and keys.
#include "harness/execute/plan.h"

#include <algorithm>
#include <map>
#include <optional>

#include "golden/recipe.h"
#include "harness/execute/patches.h"
#include "harness/matrix/patches.h"
#include "runtime/base/words.h"
#include "runtime/model/changed_weights.h"

namespace isobit {
namespace {

/// Deals whole classes to partitions, in order of their first cell.
std::vector<bool> in_partition(const Scenario& scenario, const Matrix& matrix,
                               const Selection& selection) {
  std::vector<bool> chosen(matrix.cells.size());
  int number = 0;
  std::vector<Group> together = groups_of(scenario, matrix);
  for (Group& measured : measured_groups(scenario, matrix)) together.push_back(std::move(measured));
  for (const std::vector<int>& whole : united(together, matrix)) {
    const bool here = number++ % selection.partitions == selection.partition - 1;
    for (const int cell : whole) chosen[std::size_t(cell)] = here;
  }
  return chosen;
}

/// The failed cells with all that they are compared with.
std::vector<bool> failed_with_partners(const Scenario& scenario, const Matrix& matrix,
                                       const Selection& selection) {
  std::vector<bool> chosen(matrix.cells.size(), !selection.only_failed);
  if (!selection.only_failed) return chosen;
  for (const std::vector<int>& whole : united(groups_of(scenario, matrix), matrix)) {
    const bool failed = std::any_of(whole.begin(), whole.end(), [&](int cell) {
      return selection.failed.count(matrix.cells[std::size_t(cell)].hash) != 0;
    });
    for (const int cell : whole) chosen[std::size_t(cell)] = failed;
  }
  return chosen;
}

/// The cells that the words of a selection name; all without words.
Result<std::vector<bool>> named_cells(const Selection& selection, const Matrix& matrix) {
  std::vector<bool> named(matrix.cells.size(), selection.cells.empty());
  for (const std::string& word : selection.cells) {
    const auto cell = cell_named(matrix, word);
    ISOBIT_TRY(cell);
    if (*cell >= 0) named[std::size_t(*cell)] = true;
  }
  return named;
}

/// Keeps the selected cells of the matrix, renumbered, and puts the others aside.
Result<void> select(const Scenario& scenario, const Selection& selection, Matrix& matrix) {
  Filter filter;
  if (!selection.filter.empty()) {
    auto parsed = Filter::parse(selection.filter, "-k");
    ISOBIT_TRY(parsed);
    filter = std::move(*parsed);
  }
  const std::vector<bool> part = in_partition(scenario, matrix, selection);
  const std::vector<bool> failed = failed_with_partners(scenario, matrix, selection);
  const auto named = named_cells(selection, matrix);
  ISOBIT_TRY(named);
  std::vector<Cell> kept;
  for (std::size_t i = 0; i < matrix.cells.size(); ++i) {
    Cell& cell = matrix.cells[i];
    const bool chosen = part[i] && (*named)[i] && failed[i] && filter.matches(cell.subject());
    (chosen ? kept : matrix.unselected).push_back(std::move(cell));
  }
  matrix.cells = std::move(kept);
  for (std::size_t i = 0; i < matrix.cells.size(); ++i) matrix.cells[i].index = int(i);
  return {};
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
  ISOBIT_CHECK(engine != nullptr);  // the scenario has checked the value
  for (const std::string& library : engine->libraries(cell.requested().backend.engine)) {
    out.push_back("engine.library=" + library_sha256(library));
  }
  if (!cell.deterministic()) {
    for (const std::string& variable : library_variables(here)) out.push_back(variable);
  }
  return out;
}

/// The machine's lines in the recipe of a vendor's engine that can run here; none when it cannot be
/// said what its bits depend on: of those whose donor has another engine, or another device.
std::vector<std::string> machine_lines(const Cell& cell, const Environment& here) {
  if (const auto donor = donor_of(cell)) {
    for (const char* axis : {"engine", "device"}) {
      if (donor->value(axis) != cell.value(axis)) return {};
    }
  }
  const EngineEntry* engine = find_engine(cell.at("engine").head);
  const BackendOptions asked = cell.requested().backend;
  if (const auto original = original_of(asked.engine)) return original->machine;
  const std::string variant = engine->variant == nullptr ? "" : engine->variant(asked);
  if (variant.empty()) return {};
  std::vector<std::string> out{"variant=" + variant};
  for (const std::string& library : engine->libraries(asked.engine)) {
    const std::string file = library.substr(library.rfind('/') + 1);
    out.push_back("library." + file + "=" + library_sha256(library));
  }
  if (cell.value("device") != "cuda") return out;
  for (const std::string& variable : choosing_variables(here)) {
    out.push_back("variable." + variable);
  }
  return out;
}

/// A golden class for every cell that the scenario wants goldens of; for a vendor's engine only
/// where its library and hardware are known.
void name_class(const Loaded& loaded, const Cell& cell, const Environment& here,
                PlannedCell& planned) {
  const bool wanted = loaded.scenario.golden.wants(cell.subject());
  std::vector<std::string> machine;
  bool known = cell.deterministic();
  if (!known && planned.skip_reason.empty()) {
    machine = machine_lines(cell, here);
    known = !machine.empty();
  }
  planned.class_recipe =
      class_recipe(loaded.scenario, cell, loaded.session.of(cell).inputs, machine);
  if (!wanted) return;
  planned.asked_class = asked_class(planned.class_recipe);
  if (known) planned.class_hash = to_hex(recipe_hash(planned.class_recipe));
}

/// External engines may run, and take the options that they are given.
Result<void> check_engines(const Matrix& matrix) {
  std::set<std::string> seen;
  for (const Cell& cell : matrix.cells) {
    const EngineEntry* engine = find_engine(cell.at("engine").head);
    if (engine == nullptr || engine->check == nullptr) continue;
    const GenerateRequest asked = cell.requested();
    if (!unsupported_reason(asked.backend, mode_of(asked.precision)).empty()) continue;
    if (!seen.insert(cell.value("engine")).second) continue;
    if (auto ok = engine->check(asked.backend.engine); !ok) {
      return Error{ok.error().message, cell.at("engine").place};
    }
  }
  return {};
}

/// The models' weights can be changed as the cells ask.
Result<void> check_weights(const Session& session, const Matrix& matrix) {
  std::set<std::pair<std::string, std::string>> seen;  // scales do not depend on the seed
  for (const Cell& cell : matrix.cells) {
    const WeightChange change = cell.requested().weights;
    const std::string own = change.text.substr(0, change.text.find("+seed:"));
    if (!change.changes() || !seen.insert({cell.value("model"), own}).second) continue;
    if (auto fits = check_weight_change(session.of(cell).model, change); !fits) {
      return Error{cell.name() + ": " + fits.error().message, cell.axes.at("weights").place};
    }
  }
  return {};
}

/// The models have the layers asked for, and take what the cells ask of weights and caches.
Result<void> check_with_models(const Scenario& scenario, const Session& session,
                               const Matrix& matrix) {
  for (const ModelSession& each : session.models) {
    for (const std::int32_t layer : scenario.values.layers) {
      if (layer < each.model.config.layers) continue;
      return Error{"observe asks for values of layer " + std::to_string(layer) + ", model " +
                       each.name + " has " + std::to_string(each.model.config.layers) +
                       " layers, counted from 0",
                   scenario.path};
    }
  }
  if (auto ok = check_weights(session, matrix); !ok) return ok;
  for (const Cell& cell : matrix.cells) {
    const KvModel cached = kv_model(session.of(cell).model.config);
    if (auto fits = check_kv_policy(cell.requested().kv, cached); !fits) {
      return Error{cell.name() + ": " + fits.error().message, cell.axes.at("kv").place};
    }
    const auto donor = donor_of(cell);
    if (!donor) continue;
    if (auto fits = check_kv_policy(donor->requested().kv, cached); !fits) {
      return Error{cell.name() + ": the donor: " + fits.error().message, cell.at("patch").place};
    }
  }
  return {};
}

}  // namespace

Result<int> cell_named(const Matrix& matrix, const std::string& word) {
  // "NAME", "NAME /HASH", "/HASH" or "HASH"; a name holds no " /".
  const std::size_t slash = word.rfind(" /");
  const std::string hash = word.substr(slash != std::string::npos ? slash + 2
                                       : word.starts_with("/")    ? 1
                                                                  : 0);
  std::vector<const Cell*> found;
  for (const Cell& cell : matrix.cells) {
    const std::string whole = cell.name(), name = whole.substr(0, whole.rfind(" /"));
    const bool right_name = slash == std::string::npos || name == word.substr(0, slash);
    if (name == word || cell.hash == hash) return cell.index;
    if (right_name && !hash.empty() && cell.hash.starts_with(hash)) found.push_back(&cell);
  }
  if (found.empty()) return -1;
  if (found.size() == 1) return found.front()->index;
  std::string candidates;
  constexpr std::size_t kMost = 6;
  for (std::size_t i = 0; i < std::min(found.size(), kMost); ++i) {
    const std::string name = found[i]->name();
    candidates += (i == 0 ? "" : ", ") + name.substr(0, name.rfind(" /")) + " /" + found[i]->hash;
  }
  if (found.size() > kMost) candidates += ", and " + std::to_string(found.size() - kMost) + " more";
  return Error{in_quotes(word) + " names more than one cell: " + candidates, "--cell"};
}

Result<Loaded> load(const std::string& path, const std::vector<std::string>& overrides) {
  auto scenario = load_scenario(path, overrides);
  ISOBIT_TRY(scenario);
  auto session = open_session(*scenario);
  ISOBIT_TRY(session);
  return Loaded{std::move(*scenario), std::move(*session)};
}

Result<Loaded> load(Scenario scenario, const Selection& selection) {
  std::set<std::string> models;
  if (selection.active()) {
    auto matrix = expand(scenario, selection.allow_large);
    ISOBIT_TRY(matrix);
    auto selected = select(scenario, selection, *matrix);
    ISOBIT_TRY(selected);
    for (const Cell& cell : matrix->cells) models.insert(cell.value("model"));
  }
  auto session = open_session(scenario, selection.active() ? &models : nullptr);
  ISOBIT_TRY(session);
  return Loaded{std::move(scenario), std::move(*session)};
}

Result<Plan> make_plan(const Loaded& loaded, const Selection& selection, const Environment& here) {
  Plan plan;
  auto matrix = expand(loaded.scenario, selection.allow_large);
  ISOBIT_TRY(matrix);
  plan.matrix = std::move(*matrix);
  auto selected = select(loaded.scenario, selection, plan.matrix);
  ISOBIT_TRY(selected);
  plan.filtered = selection.active();
  const std::vector<std::string> common = execution_binaries();
  std::map<std::string, std::vector<std::string>> binaries;  // by engine and device
  if (auto ok = check_engines(plan.matrix); !ok) return ok.error();
  if (loaded.scenario.operation.kind == OperationKind::none) {
    if (auto ok = check_with_models(loaded.scenario, loaded.session, plan.matrix); !ok)
      return ok.error();
    if (auto ok = check_patches(loaded.scenario, loaded.session, plan.matrix); !ok)
      return ok.error();
  }
  for (const Cell& cell : plan.matrix.cells) {
    PlannedCell planned;
    planned.skip_reason = skip_reason(loaded.scenario, loaded.session, cell);
    auto& of_engine = binaries[cell.value("engine") + " on " + cell.value("device")];
    if (of_engine.empty()) of_engine = binaries_of(cell, common, here);
    std::vector<std::string> all = of_engine;
    if (const auto donor = donor_of(cell)) {
      for (const std::string& binary : binaries_of(*donor, {}, here)) {
        all.push_back("donor." + binary);
      }
    }
    const std::string transport = transport_of(cell);
    if (!transport.empty()) all.push_back(transport);
    const RecipeInputs& inputs = loaded.session.of(cell).inputs;
    planned.key = execution_key(cell_recipe(loaded.scenario, cell, inputs), all);
    name_class(loaded, cell, here, planned);
    plan.cells.push_back(std::move(planned));
  }
  return plan;
}

std::set<GoldenKey> asked_blocks(const Loaded& loaded, const Plan& plan) {
  std::map<const ModelSession*, std::set<std::string>> prompts;
  for (const ModelSession& model : loaded.session.models) {
    for (const PromptTokens& prompt : model.tokens) {
      prompts[&model].insert(to_hex(tokens_digest(prompt.tokens)));
    }
  }
  std::set<GoldenKey> out;
  for (std::size_t i = 0; i < plan.cells.size(); ++i) {
    const std::string& asked = plan.cells[i].asked_class;
    if (asked.empty()) continue;
    const ModelSession& model = loaded.session.of(plan.matrix.cells[i]);
    for (const std::string& prompt : prompts[&model]) out.insert({asked, prompt});
  }
  return out;
}

std::vector<bool> may_be_reused(const Scenario& scenario, const Matrix& matrix) {
  std::vector<bool> out = needs_values(scenario, matrix);
  for (std::size_t i = 0; i < out.size(); ++i) {
    const auto is_cacheable = [](const Cell& cell) {
      const EngineEntry* engine = find_engine(cell.at("engine").head);
      return engine != nullptr && engine->cacheable;
    };
    const Cell& cell = matrix.cells[i];
    const std::optional<Cell> donor = donor_of(cell);
    out[i] = !out[i] && is_cacheable(cell) && (!donor || is_cacheable(*donor));
  }
  return out;
}

std::vector<bool> needs_values(const Scenario& scenario, const Matrix& matrix) {
  std::vector<bool> out(matrix.cells.size());
  for (const Group& group : groups_of(scenario, matrix)) {
    const Expectation& rule = scenario.expect[std::size_t(group.rule)];
    using Kind = Expectation::Kind;
    if (rule.kind != Kind::within && rule.kind != Kind::ensemble) continue;
    for (const int cell : group.cells) out[std::size_t(cell)] = true;
  }
  for (std::size_t i = 0; i < out.size(); ++i) {
    out[i] = out[i] || needs_pair_values(scenario, matrix.cells[i], false);
  }
  return out;
}

}  // namespace isobit
