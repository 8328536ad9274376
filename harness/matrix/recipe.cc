// Recipes as sorted "key=value" lines: readable in goldens, hashed as they are.
#include "harness/matrix/recipe.h"

#include <algorithm>
#include <cstdio>

#include "harness/matrix/patches.h"

namespace isobit {
namespace {

std::string hex_float(double value) {
  char text[48];
  std::snprintf(text, sizeof text, "%a", value);
  return text;
}

/// One line whatever the value holds (an exec command may hold anything).
std::string recipe_line(const std::string& key, const std::string& value) {
  std::string escaped;
  for (const char c : value) escaped += c == '\n' ? "\\n" : c == '\\' ? "\\\\" : std::string(1, c);
  return key + "=" + escaped + "\n";
}

std::string sorted_lines(const std::string& text) {
  std::vector<std::string> lines;
  std::size_t begin = 0;
  while (begin < text.size()) {
    const std::size_t end = text.find('\n', begin) + 1;
    lines.push_back(text.substr(begin, end - begin));
    begin = end;
  }
  std::sort(lines.begin(), lines.end());
  std::string out;
  for (const std::string& line : lines) out += line;
  return out;
}

}  // namespace

std::string decode_lines(const Decode& decode, DecodeLines which) {
  const Decode defaults;
  std::string out;
  const auto line = [&](const char* key, const std::string& value, const std::string& usual) {
    if (which == DecodeLines::all || value != usual)
      out += recipe_line(std::string("decode.") + key, value);
  };
  const auto flag = [](bool value) { return std::string(value ? "true" : "false"); };
  line("ignore_eos", flag(decode.ignore_eos), flag(defaults.ignore_eos));
  line("max_new_tokens", std::to_string(decode.max_new_tokens),
       std::to_string(defaults.max_new_tokens));
  if (decode.strategy != "greedy") {
    line("seed", std::to_string(decode.seed), std::to_string(defaults.seed));
  }
  line("strategy", decode.strategy, defaults.strategy);
  if (decode.strategy != "greedy") {
    line("temperature", hex_float(decode.temperature), hex_float(defaults.temperature));
    line("top_k", std::to_string(decode.top_k), std::to_string(defaults.top_k));
    line("top_p", hex_float(decode.top_p), hex_float(defaults.top_p));
  }
  return out;
}

std::string class_recipe(const Scenario& scenario, const Cell& cell, const RecipeInputs& inputs,
                         const std::vector<std::string>& machine) {
  std::string lines = class_axes(cell);
  if (scenario.operation.kind == OperationKind::none) {
    lines += decode_lines(decode_of(scenario, cell), DecodeLines::all);
  }
  lines += recipe_line("model", inputs.model_digest);
  lines += recipe_line("numerics", inputs.numerics_version);
  lines += recipe_line("segments", std::to_string(inputs.segments));
  lines += recipe_line("tokenizer", inputs.tokenizer_digest);
  const auto in_company_of = [](const Cell& one) {
    return one.value("batch") != "1" || one.requested().cache.shares_prefix;
  };
  const auto donor = donor_of(cell);
  const bool in_company = in_company_of(cell) || (donor && in_company_of(*donor));
  if (depends_on_steps(cell) && in_company) {
    lines += recipe_line("batch.prompts", inputs.prompts_digest);
  }
  if (cell.value("teacher_forced") == "answer") {
    lines += recipe_line("answers", inputs.answers_digest);
  }
  if (cell.value("teacher_forced") == "continuation") {
    lines += recipe_line("continuations", inputs.continuations_digest);
  }
  if (const PatchValue* patch = patch_of(cell); patch != nullptr && !patch->spec.prompt.empty()) {
    const auto tokens = inputs.prompt_digests.find(patch->spec.prompt);
    lines +=
        recipe_line("patch.donor", tokens == inputs.prompt_digests.end() ? "" : tokens->second);
  }
  for (const std::string& line : machine) {
    const std::size_t equals = line.find('=');
    lines += recipe_line(line.substr(0, equals), line.substr(equals + 1));
  }
  return sorted_lines(lines);
}

std::string cell_recipe(const Scenario& scenario, const Cell& cell, const RecipeInputs& inputs) {
  static const char* const kLevels[] = {"logits", "layers", "ops"};
  std::string lines = class_recipe(scenario, cell, inputs);
  for (const auto& [axis, value] : cell.axes) {
    if (!find_axis(axis)->own_lines) lines += recipe_line("axis." + axis, value.text);
  }
  lines += recipe_line("prompts", inputs.prompts_digest);
  lines += recipe_line("observe", kLevels[static_cast<int>(scenario.observe)]);
  // A trace without them cannot stand for one that a measure needs them of.
  if (needs_log_sums(scenario, cell)) lines += recipe_line("log_sums", "true");
  if (needs_fed_logits(scenario)) lines += recipe_line("fed_logits", "true");
  return sorted_lines(lines);
}

Sha256 recipe_hash(const std::string& recipe) {
  return sha256(recipe.data(), recipe.size());
}

Sha256 execution_key(const std::string& cell_recipe, const std::vector<std::string>& binaries) {
  std::vector<std::string> sorted = binaries;
  std::sort(sorted.begin(), sorted.end());
  std::string text = "isobit execution 1\n";
  // Lengths before texts: no two different lists make the same bytes.
  text += std::to_string(cell_recipe.size()) + ":" + cell_recipe;
  for (const std::string& binary : sorted) text += std::to_string(binary.size()) + ":" + binary;
  return recipe_hash(text);
}

}  // namespace isobit
