// Rows of two blocks, values of what the database knows of them (change.h).
#include "harness/explain/change.h"

#include <algorithm>

#include "runtime/base/text.h"

namespace isobit {
namespace {

/// The lines of a class recipe that people know a class by.
std::string class_words(const std::string& recipe) {
  std::string out;
  for (const auto& [key, value] : recipe_lines(recipe)) {
    const bool shared = key.starts_with("decode.") || (may_go_stale(key) && key != "variant");
    if (!shared) out += (out.empty() ? "" : " ") + key + "=" + value;
  }
  return out;
}

void compare_rows(ChangeView& view) {
  const auto &before = view.change->reference()->rows, &after = view.change->block.rows;
  for (std::size_t i = 0; i < std::min(before.size(), after.size()); ++i) {
    ++view.compared;
    if (before[i] == after[i]) continue;
    if (view.position < 0) {
      view.position = after[i].position;
      view.index = std::int64_t(i);
      view.id_before = before[i].id;
      view.id_after = after[i].id;
    }
    ++view.differing;
    if (before[i].id == after[i].id) continue;
    ++view.flipped;
    break;  // later rows have other inputs
  }
}

const TokenRecord* first_row(const Witness& witness, std::int64_t index) {
  const auto& tokens = witness.trace->prompts[std::size_t(witness.prompt)].tokens;
  return std::size_t(index) < tokens.size() ? &tokens[std::size_t(index)] : nullptr;
}

std::string token_words(std::int32_t id, const std::string& text) {
  return std::to_string(id) + (text.empty() ? "" : " " + text::quoted(text, 40));
}

}  // namespace

const char* state_of(const GoldenChange& change) {
  const GoldenBlock* reference = change.reference();
  if (reference == nullptr) return "new";
  return reference->rows == change.block.rows ? "equal" : "changed";
}

ChangeView view_of(Witnesses& witnesses, const GoldenChange& change, const Tokenizer* tokenizer) {
  ChangeView view;
  view.change = &change;
  const GoldenBlock* reference = change.reference();
  if (reference == nullptr) return view;
  const std::vector<RecipeChange> none;
  const auto& changed = change.before ? change.before->changed : none;
  if (change.before) {
    view.replaced = changed.empty() ? "" : "another recipe: " + text_of(changed);
    if (!change.before->same_tokens) {
      view.replaced += (changed.empty() ? "" : "; ") + std::string("other tokens of the prompt");
    }
  }
  compare_rows(view);
  const auto after = witnesses.of(change.block), before = witnesses.of(*reference);
  if (before && after) {
    view.cause = cause_text(causes_of(before->from, after->from));
  } else if (!changed.empty()) {
    view.cause = text_of(changed);
  }
  if (view.position < 0) return view;
  const auto decoded = [&](std::int32_t id) {
    return tokenizer == nullptr || id < 0 ? "" : tokenizer->token_bytes(id);
  };
  const bool same_words = std::none_of(
      changed.begin(), changed.end(), [](const auto& c) { return c.key.starts_with("tokenizer"); });
  view.text_after = decoded(view.id_after);
  if (same_words) view.text_before = decoded(view.id_before);
  if (!before || !after) return view;
  const TokenRecord* a = first_row(*before, view.index);
  const TokenRecord* b = first_row(*after, view.index);
  if (a != nullptr && b != nullptr) view.distance = stored_distance(*a, *b);
  return view;
}

std::string line_of(const GoldenChange& change) {
  const GoldenBlock& block = change.block;
  return std::string(state_of(change)) + "  " + block.block_hash() + "  prompt " +
         text::printable(block.prompt_id) + ", " + std::to_string(block.rows.size()) + " rows, " +
         text::printable(class_words(block.class_recipe));
}

std::vector<std::string> lines_of(const ChangeView& view) {
  const GoldenBlock& block = view.change->block;
  const GoldenBlock* reference = view.change->reference();
  std::vector<std::string> out{line_of(*view.change)};
  if (reference == nullptr) return out;
  out.push_back("  stands for " + reference->block_hash() +
                (view.replaced.empty() ? "" : ", of " + text::printable(view.replaced)));
  if (view.position >= 0) {
    const std::string before = token_words(view.id_before, view.text_before);
    out.push_back("  first at position " + std::to_string(view.position) + " (generated token " +
                  std::to_string(view.index) + "): token " + before +
                  (view.id_before == view.id_after
                       ? std::string(" on both sides")
                       : " became " + token_words(view.id_after, view.text_after)));
    out.push_back("  " + std::to_string(view.differing) + " of " + std::to_string(view.compared) +
                  " rows differ, " + (view.flipped > 0 ? "then a token flips" : "no token flips"));
  } else if (reference->rows.size() != block.rows.size()) {
    out.push_back("  another number of rows: " + std::to_string(reference->rows.size()) +
                  " became " + std::to_string(block.rows.size()));
  }
  if (view.distance) out.push_back("  there: " + text_of(*view.distance));
  return out;
}

}  // namespace isobit
