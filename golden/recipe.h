// Class recipes as sets of "key=value" lines: what changed between two, and which changes leave a
// golden comparable. Pure. Who writes a recipe: harness/matrix/recipe.h.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace isobit {

/// A recipe's lines by key; a line without '=' is a key without value.
std::map<std::string, std::string> recipe_lines(const std::string& recipe);

/// Lines that say which library file, hardware and variables a vendor's engine computes with:
/// library.FILE, variant, variable.NAME. A scenario asks for its cells whatever these are.
bool is_machine_key(std::string_view key);
/// Keys whose change makes a golden stale rather than that of another class: those of the machine,
/// model…, tokenizer…, numerics…, segments.
bool may_go_stale(std::string_view key);

/// The lines that may not go stale: two recipes are comparable when these are equal.
std::string lasting_lines(const std::string& recipe);
/// Hex SHA-256 of the recipe without its machine lines: the class that a scenario asks for. Of a
/// recipe that has none it is the class hash itself.
std::string asked_class(const std::string& recipe);

/// A line that is another one, is new (before empty), or is gone (after empty).
struct RecipeChange {
  std::string key, before, after;
  /// "model 296ca2a5791c -> 83ab01ff2c3d", "library libopenblas.so.0 … -> …", "batch (none) -> 3".
  [[nodiscard]] std::string text() const;
};
/// Gravest cause first: model, tokenizer, decode parameters, axes, numerics and segments, library,
/// variables, variant; by key within each.
std::vector<RecipeChange> recipe_changes(const std::string& before, const std::string& after);
/// The texts, joined by "; ".
std::string text_of(const std::vector<RecipeChange>& changes);

/// A digest as people read it, its first 12 digits; any other value as it is.
std::string short_value(const std::string& value);

}  // namespace isobit
