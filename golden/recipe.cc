// Recipes line by line (recipe.h).
#include "golden/recipe.h"

#include <algorithm>
#include <sstream>

#include "runtime/base/sha256.h"

namespace isobit {
namespace {

constexpr std::string_view kLibrary = "library.", kVariable = "variable.";

/// Place of a key among the causes of a difference.
int rank_of(std::string_view key) {
  if (key.starts_with("model")) return 0;
  if (key.starts_with("tokenizer")) return 1;
  if (key.starts_with("decode.")) return 2;
  if (key == "numerics" || key == "segments") return 4;
  if (key.starts_with(kLibrary)) return 5;
  if (key.starts_with(kVariable)) return 6;
  if (key == "variant") return 7;
  return 3;
}

std::string words_of(std::string_view key) {
  for (const std::string_view group : {kLibrary, kVariable, std::string_view("decode.")}) {
    if (!key.starts_with(group)) continue;
    const std::string name(key.substr(group.size()));
    return group == "decode." ? name : std::string(group.substr(0, group.size() - 1)) + " " + name;
  }
  return std::string(key);
}

std::string lines_without(const std::string& recipe, bool (*drop)(std::string_view key)) {
  std::string kept;
  std::istringstream stream(recipe);
  for (std::string line; std::getline(stream, line);) {
    if (!drop(line.substr(0, line.find('=')))) kept += line + "\n";
  }
  return kept;
}

}  // namespace

std::map<std::string, std::string> recipe_lines(const std::string& recipe) {
  std::map<std::string, std::string> lines;
  std::istringstream stream(recipe);
  for (std::string line; std::getline(stream, line);) {
    if (line.empty()) continue;
    const std::size_t equals = line.find('=');
    const bool has_value = equals != std::string::npos;
    lines[line.substr(0, equals)] = has_value ? line.substr(equals + 1) : "";
  }
  return lines;
}

bool is_machine_key(std::string_view key) {
  return key.starts_with(kLibrary) || key.starts_with(kVariable) || key == "variant";
}

bool may_go_stale(std::string_view key) {
  return is_machine_key(key) || key.starts_with("model") || key.starts_with("numerics") ||
         key.starts_with("tokenizer") || key == "segments";
}

std::string lasting_lines(const std::string& recipe) {
  return lines_without(recipe, may_go_stale);
}

std::string asked_class(const std::string& recipe) {
  const std::string kept = lines_without(recipe, is_machine_key);
  return to_hex(sha256(kept.data(), kept.size()));
}

std::string RecipeChange::text() const {
  const auto side = [](const std::string& value) {
    return value.empty() ? std::string("(none)") : short_value(value);
  };
  return words_of(key) + " " + side(before) + " -> " + side(after);
}

std::vector<RecipeChange> recipe_changes(const std::string& before, const std::string& after) {
  const auto old_lines = recipe_lines(before), new_lines = recipe_lines(after);
  auto all = old_lines;
  all.insert(new_lines.begin(), new_lines.end());
  const auto value = [](const auto& lines, const std::string& key) {
    const auto at = lines.find(key);
    return at == lines.end() ? std::string() : at->second;
  };
  std::vector<RecipeChange> out;
  for (const auto& [key, unused] : all) {
    RecipeChange change{key, value(old_lines, key), value(new_lines, key)};
    if (change.before != change.after) out.push_back(std::move(change));
  }
  std::stable_sort(out.begin(), out.end(), [](const RecipeChange& a, const RecipeChange& b) {
    return rank_of(a.key) < rank_of(b.key);
  });
  return out;
}

std::string text_of(const std::vector<RecipeChange>& changes) {
  std::string out;
  for (const RecipeChange& change : changes) out += (out.empty() ? "" : "; ") + change.text();
  return out;
}

std::string short_value(const std::string& value) {
  const bool digest =
      value.size() == 64 && value.find_first_not_of("0123456789abcdef") == std::string::npos;
  return digest ? value.substr(0, 12) : value;
}

}  // namespace isobit
