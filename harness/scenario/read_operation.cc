// `model: {op: gemm, shapes: FILE}`, and what such a scenario has and has not (scenario/tree.h).
#include <algorithm>

#include "harness/axes/axes.h"
#include "harness/scenario/tree.h"
#include "runtime/base/words.h"

namespace isobit {
namespace {

using Kind = TreeNode::Kind;

constexpr OperationKind kKinds[] = {OperationKind::gemm, OperationKind::attention,
                                    OperationKind::rms_norm, OperationKind::softmax};

/// Why an operation has no such axis, or empty.
std::string misfit(const std::string& axis, OperationKind kind) {
  const std::string with = "axis " + axis + " has no meaning with op " + name_of(kind);
  const bool product = kind == OperationKind::gemm, attends = kind == OperationKind::attention;
  if (axis == "gemm" && !product) return with + ": it orders products";
  if (axis == "attention" && !attends) return with + ": it orders the keys of attention";
  if (axis == "stride" && !product && !attends) return with + ": a backend's takes dense rows";
  return "";
}

}  // namespace

bool NodeReader::is_operation(const TreeNode& model) {
  return std::any_of(model.keys.begin(), model.keys.end(),
                     [](const TreeNode& key) { return key.text == "op" || key.text == "shapes"; });
}

OperationChoice NodeReader::operation(const TreeNode& node) {
  OperationChoice out;
  out.place = tree_.place(node);
  std::vector<std::string> names;
  for (const OperationKind kind : kKinds) names.emplace_back(name_of(kind));
  map(node, "model", {"op", "shapes"});
  for (std::size_t i = 0; i < node.keys.size(); ++i) {
    if (node.keys[i].text == "shapes") out.shapes = word(node.items[i], "shapes");
    if (node.keys[i].text != "op") continue;
    const std::string name = choice(node.items[i], "op", names);
    const auto at = std::find(names.begin(), names.end(), name);
    if (at != names.end()) out.kind = kKinds[at - names.begin()];
  }
  if (out.kind == OperationKind::none) fail(node, "model: shapes without op: which operation?");
  if (out.shapes.empty()) fail(node, "model: op needs shapes: a file of shapes, one a line");
  return out;
}

bool NodeReader::belongs(const std::string& axis, const TreeNode& node) {
  const bool operation = operation_ != OperationKind::none;
  const AxisScope scope = operation ? AxisScope::operation : AxisScope::model;
  if (!find_axis(axis)->belongs_to(scope)) {
    fail(node, operation ? "axis " + axis + " is one of a model; this scenario is one operation"
                         : "axis " + axis +
                               " is one of a single operation, of a scenario with "
                               "model: {op: …, shapes: FILE}");
    return false;
  }
  const std::string why = operation ? misfit(axis, operation_) : "";
  if (!why.empty()) fail(node, why);
  return why.empty();
}

void NodeReader::refuse_key(const TreeNode& key) {
  if (operation_ == OperationKind::none) return;
  for (const char* of_model : {"prompts", "decode", "observe", "measure", "ensemble", "score"}) {
    if (key.text == of_model)
      fail(key, in_quotes(key.text) + " has no meaning in a scenario of one operation");
  }
}

std::optional<Error> check_operation(const Scenario& scenario) {
  const std::string with = std::string(" with op ") + name_of(scenario.operation.kind);
  for (const Expectation& rule : scenario.expect) {
    if (rule.kind == Expectation::Kind::score) {
      return Error{rule.text() + ": rows" + with + " are no replies and have no score", rule.place};
    }
    if (!rule.token_match && !rule.max_kl) continue;
    return Error{rule.text() + ": rows" + with + " are no distributions over tokens; bounds are " +
                     "max_abs and max_ulp",
                 rule.place};
  }
  /// Why an engine has no operation of this kind.
  const auto refused = [&](const AxisValue& value) -> std::string {
    const auto* choice = std::get_if<EngineChoice>(&value.setting);
    const EngineEntry* engine = choice == nullptr ? nullptr : find_engine(choice->name);
    if (engine != nullptr && engine->make == nullptr) {
      return " computes whole answers of a model, and no operation by itself";
    }
    const bool softmax = scenario.operation.kind == OperationKind::softmax;
    if (softmax && choice != nullptr && choice->name == "plugin") {
      return " has no softmax: a plugin's table has attention, and not the weights inside it";
    }
    return "";
  };
  std::optional<Error> found;
  const auto look = [&](const auto& lists) {
    for (const auto& [axis, values] : lists) {
      for (const AxisValue& value : values) {
        if (found || axis != "engine") continue;
        const std::string why = refused(value);
        if (!why.empty()) found = Error{"engine " + in_quotes(value.text) + why, value.place};
      }
    }
  };
  look(scenario.axes);
  for (const auto& group : scenario.zip) look(group);
  for (const auto& entry : scenario.include) look(entry);
  return found;
}

}  // namespace isobit
