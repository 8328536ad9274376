// `isobit validate`: scenario files, their matrix, contract and prompts, without running anything.
#include <algorithm>
#include <filesystem>
#include <set>

#include "harness/cli/verbs/common.h"
#include "harness/cli/verbs/verbs.h"
#include "harness/execute/patches.h"
#include "harness/matrix/matrix.h"
#include "harness/models/files.h"
#include "harness/scenario/prompts.h"

namespace isobit::commands {
namespace {

struct Validated {
  std::size_t cells = 0, groups = 0, prompts = 0;
  bool operation = false;  // its prompts are shapes
};

/// A model takes the prompts, and what is put into runs of them. One of a manifest need not be
/// fetched yet; then only a run can tell.
Result<void> check_prompts_with_model(const Scenario& scenario, const Matrix& matrix,
                                      const AxisValue& value, const std::vector<Prompt>& prompts,
                                      const std::string& folder) {
  const std::string& word = std::get<std::string>(value.setting);
  auto model = open_model(word, folder);
  if (!model) {
    const bool by_name =
        models::path_of_model(word, folder).empty() && !models::manifest_path(word, folder).empty();
    if (!by_name) return model_error(model.error(), value, scenario);
    const auto chain = models::manifest_chain(word, folder);
    ISOBIT_TRY(chain);
    return {};
  }
  ModelSession session;
  session.model = std::move(*model);
  session.name = value.text;
  if (auto ok = read_tokens(scenario, prompts, session); !ok) return ok;
  Session one;
  one.prompts = prompts;
  one.models.push_back(std::move(session));
  return check_patches(scenario, one, matrix);
}

/// The prompts, or the shapes of one operation, and whether the model takes them: how many.
Result<std::size_t> check_prompts(const Scenario& scenario, const Matrix& matrix) {
  const std::filesystem::path folder = std::filesystem::path(scenario.path).parent_path();
  if (scenario.operation.kind != OperationKind::none) {
    const auto session = open_operation(scenario);
    ISOBIT_TRY(session);
    return session->prompts.size();
  }
  const auto prompts = read_prompts(scenario);
  ISOBIT_TRY(prompts);
  for (const AxisValue& value : models_of(scenario)) {
    auto ok = check_prompts_with_model(scenario, matrix, value, *prompts, folder.string());
    ISOBIT_TRY(ok);
  }
  return prompts->size();
}

/// How many values an axis has among some cells of the matrix.
std::set<std::string> values_of(const Matrix& matrix, const std::vector<int>& cells,
                                const std::string& axis) {
  std::set<std::string> values;
  for (const int cell : cells) values.insert(matrix.cells[std::size_t(cell)].value(axis));
  return values;
}

/// Why a rule says nothing along an axis of its `across`, or empty: the axis has one value in all
/// cells of the rule, or one in each of its groups, because another axis changes with it.
std::string does_not_vary(const Matrix& matrix, const std::vector<Group>& groups,
                          const std::string& axis) {
  std::vector<int> all;
  for (const Group& group : groups) {
    if (values_of(matrix, group.cells, axis).size() > 1) return "";
    all.insert(all.end(), group.cells.begin(), group.cells.end());
  }
  const std::set<std::string> values = values_of(matrix, all, axis);
  const std::string begin = "axis " + axis + " does not vary: it is ";
  if (values.size() == 1) return begin + *values.begin() + " in every cell of the rule";
  return begin + "the same in all cells of each group, such as [" + groups.front().key +
         "]; an axis that changes with it is not in across";
}

/// Every rule compares something: each axis of `across` varies, and no group is a single cell.
Result<void> check_rules(const Scenario& scenario, const Matrix& matrix) {
  std::vector<std::vector<Group>> by_rule(scenario.expect.size());
  for (Group& group : groups_of(scenario, matrix)) {
    by_rule[std::size_t(group.rule)].push_back(std::move(group));
  }
  for (std::size_t r = 0; r < by_rule.size(); ++r) {
    const Expectation& rule = scenario.expect[r];
    for (const std::string& axis : rule.across) {
      const std::string why = does_not_vary(matrix, by_rule[r], axis);
      if (!why.empty()) return Error{rule.text() + ": " + why, rule.place};
    }
    for (const Group& group : by_rule[r]) {
      if (group.cells.size() > 1) continue;
      return Error{rule.text() + ": group [" + group.key + "] is the one cell " +
                       matrix.cells[std::size_t(group.cells.front())].name() +
                       ": there is nothing to compare it with",
                   rule.place};
    }
  }
  return {};
}

/// Every group of a measure has two configurations at least: of one there is no spread.
Result<void> check_measures(const Scenario& scenario, const Matrix& matrix) {
  for (const Group& group : measured_groups(scenario, matrix)) {
    const Measure& measure = scenario.measures[std::size_t(group.rule)];
    const auto varies = [&](const std::string& axis) {
      return values_of(matrix, group.cells, axis).size() > 1;
    };
    if (std::any_of(measure.across.begin(), measure.across.end(), varies)) continue;
    return Error{measure.text() + ": group [" + group.key +
                     "] is one configuration: no axis of across varies in it",
                 measure.place};
  }
  return {};
}

/// A requirement that applies to no cell, or that its cells can meet on no machine, is a mistake:
/// the first guards nothing, the second skips them everywhere.
Result<void> check_requirements(const Scenario& scenario, const Matrix& matrix) {
  for (const Requirement& requirement : scenario.requirements) {
    bool applies = false, possible = false;
    for (const Cell& cell : matrix.cells) {
      const std::vector<Requirement> own = requirements_of(scenario, cell);
      const bool here = std::any_of(own.begin(), own.end(), [&](const Requirement& each) {
        return each.subject == requirement.subject && each.what == requirement.what;
      });
      applies |= here;
      possible |= here && can_be_met(requirement, cell);
    }
    const std::string text = "requires " + requirement.subject + ": " + requirement.what;
    if (!applies) {
      return Error{text + ": applies to no cell; none has " + requirement.subject +
                       (find_axis(requirement.subject) != nullptr ? " beyond its default" : ""),
                   requirement.place};
    }
    if (!possible) {
      return Error{
          text + ": no machine can meet it: its cells have device cpu, where " +
              (requirement.what == "gpu" ? "no GPU computes" : "ranks share the processor"),
          requirement.place};
    }
  }
  return {};
}

Result<Validated> validated(const std::string& path, const Arguments& arguments) {
  auto scenario = load_scenario(path, arguments.all("set"));
  ISOBIT_TRY(scenario);
  auto matrix = expand(*scenario, arguments.has("allow-large"));
  ISOBIT_TRY(matrix);
  if (auto ok = check_rules(*scenario, *matrix); !ok) return ok.error();
  if (auto ok = check_measures(*scenario, *matrix); !ok) return ok.error();
  if (auto ok = check_requirements(*scenario, *matrix); !ok) return ok.error();
  const auto prompts = check_prompts(*scenario, *matrix);
  ISOBIT_TRY(prompts);
  return Validated{matrix->cells.size(), groups_of(*scenario, *matrix).size(), *prompts,
                   scenario->operation.kind != OperationKind::none};
}

}  // namespace

Result<int> validate(const Arguments& arguments) {
  Json files = Json::array();
  bool wrong = false;
  for (const std::string& path : arguments.words) {
    const auto result = validated(path, arguments);
    wrong |= !result;
    if (arguments.has("json")) {
      Json file = {{"path", path}, {"valid", bool(result)}};
      if (result) {
        file["cells"] = result->cells;
        file["groups"] = result->groups;
        file["prompts"] = result->prompts;
      } else {
        file["place"] = result.error().place;
        file["message"] = result.error().message;
      }
      files.push_back(std::move(file));
    } else if (!result) {
      complain(result.error().text());
    } else if (!arguments.has("quiet")) {
      print(shown_text(path) + ": valid, " + std::to_string(result->cells) + " cells, " +
            std::to_string(result->groups) + " groups, " + std::to_string(result->prompts) +
            (result->operation ? " shapes\n" : " prompts\n"));
    }
  }
  if (arguments.has("json")) print_json({{"format", kOutputFormat}, {"files", files}});
  return int(wrong ? kExitUsage : kExitOk);
}

}  // namespace isobit::commands
