// A node as an axis reads it, and what the values of a whole scenario may not say together.
#include <filesystem>
#include <map>

#include "harness/axes/axes.h"
#include "harness/scenario/tree.h"
#include "runtime/base/option_text.h"
#include "runtime/base/words.h"

namespace isobit {

using Kind = TreeNode::Kind;

RawValue NodeReader::raw_value(const std::string& axis, const TreeNode& node) {
  if (axis == "model") return raw_model(node);
  RawValue raw;
  const Axis* known = find_axis(axis);
  const bool nests = known != nullptr && known->nests;
  if (node.kind != Kind::map) {
    raw.scalar = word(node, "a value of axis " + axis);
    no_quoted_number(node);
    return raw;
  }
  if (!map(node, "a value of axis " + axis, {})) return {};
  for (std::size_t i = 0; i < node.keys.size(); ++i) {
    const std::string& key = node.keys[i].text;
    const TreeNode& item = node.items[i];
    if (known != nullptr && known->lists && item.kind == Kind::list) {
      raw.pairs.emplace_back(key, list_text(words(item, key)));
      continue;
    }
    const bool plain = known != nullptr && known->lists;
    raw.pairs.emplace_back(key, nests   ? flat(item, key)
                                : plain ? escaped(word(item, key))
                                        : word(item, key));
    if (!nests) no_quoted_number(item);
  }
  return raw;
}

/// A value of the axis model is what the key takes, but for an operation.
RawValue NodeReader::raw_model(const TreeNode& node) {
  if (is_operation(node)) {
    fail(node,
         "one operation is no value of axis model; it is a scenario of its own, with the key "
         "model: {op: …, shapes: FILE}");
    return {};
  }
  return {model(node), {}};
}

std::optional<Error> check_draws(const Scenario& scenario, bool has_seeds) {
  for (const AxisValue* value : values_on(scenario, "decode")) {
    const auto* options = std::get_if<SamplerOptions>(&value->setting);
    if (options == nullptr || options->seed == 0 || !has_seeds) continue;
    return Error{"decode " + in_quotes(value->text) +
                     " has a seed, and seed is an axis already; give it in one place",
                 value->place};
  }
  for (const Measure& measure : scenario.measures) {
    if (measure.over.empty() || has_seeds) continue;
    return Error{measure.text() + ": no cell has a seed of its own; add the axis seed: [0, 1, 2]",
                 measure.place};
  }
  return {};
}

std::optional<Error> check_model_names(const Scenario& scenario) {
  const auto word_of = [](const AxisValue& value) {
    const auto* word = std::get_if<std::string>(&value.setting);
    return word == nullptr ? std::string() : *word;
  };
  std::map<std::string, std::string> words;
  for (const AxisValue* value : values_on(scenario, "model")) {
    const auto [at, fresh] = words.emplace(value->text, word_of(*value));
    if (fresh || at->second == word_of(*value)) continue;
    return Error{"two models are named " + in_quotes(value->text) + ": " + in_quotes(at->second) +
                     " and " + in_quotes(word_of(*value)) +
                     "; a model's name is the last component of its path",
                 value->place};
  }
  return {};
}

AxisValue NodeReader::axis_value_of(const std::string& axis, const TreeNode& node, ValueUse use) {
  RawValue raw = raw_value(axis, node);
  if (error_) return {};
  raw.folder = std::filesystem::path(tree_.path).parent_path().string();
  auto canonical = axis_value(axis, raw, use);
  if (canonical) {
    canonical->place = tree_.place(node);
    return *canonical;
  }
  fail(node, canonical.error().message);
  return {};
}

}  // namespace isobit
