// `isobit validate`: scenario files, their matrix, contract and prompts, without running anything.
#include <algorithm>
#include <filesystem>
#include <set>

#include "harness/cli/verbs/common.h"
#include "harness/cli/verbs/verbs.h"
#include "harness/execute/session.h"
#include "harness/matrix/matrix.h"
#include "harness/models/files.h"
#include "harness/scenario/prompts.h"

namespace isobit::commands {
namespace {

struct Validated {
  std::size_t cells = 0, groups = 0, prompts = 0;
};

/// The model takes the prompts. One of a manifest need not be fetched yet; then only a run can
/// tell.
Result<void> check_prompts_with_model(const Scenario& scenario, const std::string& folder) {
  auto model = open_model(scenario.model, folder);
  if (!model) {
    const bool by_name = models::path_of_model(scenario.model, folder).empty() &&
                         !models::manifest_path(scenario.model, folder).empty();
    if (!by_name && model.error().place.empty()) {
      return Error{model.error().message, scenario.path};
    }
    if (!by_name) return model.error();
    const auto chain = models::manifest_chain(scenario.model, folder);
    ISOBIT_TRY(chain);
    return {};
  }
  Session session;
  session.model = std::move(*model);
  return read_prompts(scenario, session);
}

/// Every axis of `across` has two values at least: along one that has not, the rule says nothing.
Result<void> check_across(const Scenario& scenario, const Matrix& matrix) {
  for (const Expectation& rule : scenario.expect) {
    for (const std::string& axis : rule.across) {
      std::set<std::string> values;
      for (const Cell& cell : matrix.cells) {
        if (rule.where.matches(cell.subject())) values.insert(cell.value(axis));
      }
      if (values.size() != 1) continue;
      return Error{rule.text() + ": axis " + axis + " does not vary: it is " + *values.begin() +
                       " in every cell of the rule",
                   rule.place};
    }
  }
  return {};
}

Result<Validated> validated(const std::string& path, const Arguments& arguments) {
  auto scenario = load_scenario(path, arguments.all("set"));
  ISOBIT_TRY(scenario);
  auto matrix = expand(*scenario, arguments.has("allow-large"));
  ISOBIT_TRY(matrix);
  if (auto ok = check_across(*scenario, *matrix); !ok) return ok.error();
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  const std::string file = (folder / scenario->prompts.file).lexically_normal().string();
  auto prompts = load_prompts(file, scenario->prompts);
  ISOBIT_TRY(prompts);
  if (auto ok = check_prompts_with_model(*scenario, folder.string()); !ok) return ok.error();
  return Validated{matrix->cells.size(), groups_of(*scenario, *matrix).size(), prompts->size()};
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
            " prompts\n");
    }
  }
  if (arguments.has("json")) print_json({{"format", kOutputFormat}, {"files", files}});
  return int(wrong ? kExitUsage : kExitOk);
}

}  // namespace isobit::commands
