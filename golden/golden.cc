// Golden values: finding, staleness, hashes and printing (format: FORMAT.md; reading: parse.cc).
//
// Pure: no file is touched here.
#include "golden/golden.h"

#include <algorithm>
#include <charconv>
#include <sstream>
#include <tuple>

#include "golden/text.h"

namespace isobit {
namespace {

using golden_text::escape;

std::string row_line(const GoldenRow& row) {
  std::array<char, 24> number{};
  const auto append = [&number](std::string& line, std::int64_t value) {
    const auto end = std::to_chars(number.data(), number.data() + number.size(), value).ptr;
    line.append(number.data(), end);
  };
  std::string line;
  line.reserve(64);
  append(line, row.position);
  line += ' ';
  line += to_hex(row.digest);
  line += ' ';
  append(line, row.id);
  line += '\n';
  return line;
}

void print_block(const GoldenBlock& block, std::string& out) {
  out += "\nblock " + block.key.class_hash + " " + block.key.prompt_digest + "\n";
  out += "prompt \"" + escape(block.prompt_id) + "\"\n";
  std::istringstream recipe(block.class_recipe);
  for (std::string line; std::getline(recipe, line);) out += "recipe " + escape(line) + "\n";
  for (const GoldenRow& row : block.rows) out += row_line(row);
  out += "end " + block.block_hash() + "\n";
}

}  // namespace

std::string GoldenBlock::block_hash() const {
  std::string bytes = "isobit golden block 1\n" + key.class_hash + " " + key.prompt_digest + "\n";
  for (const GoldenRow& row : rows) bytes += row_line(row);
  return to_hex(sha256(bytes.data(), bytes.size())).substr(0, 16);
}

GoldenKey GoldenBlock::asked_key() const {
  const auto lines = recipe_lines(class_recipe);
  const bool of_machine = std::any_of(lines.begin(), lines.end(),
                                      [](const auto& line) { return is_machine_key(line.first); });
  return of_machine ? GoldenKey{asked_class(class_recipe), key.prompt_digest} : key;
}

const GoldenBlock* GoldenFile::find(const GoldenKey& key) const {
  const auto it = blocks.find(key);
  return it == blocks.end() ? nullptr : &it->second;
}

const LedgerEntry* GoldenFile::last_entry(const GoldenKey& key) const {
  const auto it = std::find_if(ledger.rbegin(), ledger.rend(),
                               [&](const LedgerEntry& entry) { return entry.key == key; });
  return it == ledger.rend() ? nullptr : &*it;
}

Predecessors::Predecessors(const GoldenFile& file) {
  for (const auto& [key, block] : file.blocks) {
    comparable_[{block.prompt_id, lasting_lines(block.class_recipe)}].push_back(&block);
  }
}

std::optional<Predecessor> Predecessors::of(const GoldenBlock& wanted) const {
  const auto found = comparable_.find({wanted.prompt_id, lasting_lines(wanted.class_recipe)});
  if (found == comparable_.end()) return std::nullopt;
  std::optional<Predecessor> best;
  using Rank = std::tuple<bool, bool, std::size_t>;  // less is better
  Rank least;
  for (const GoldenBlock* block : found->second) {
    if (block->key == wanted.key) continue;
    Predecessor next{block, recipe_changes(block->class_recipe, wanted.class_recipe),
                     block->key.prompt_digest == wanted.key.prompt_digest};
    const Rank rank{!next.same_tokens, block->rows != wanted.rows, next.changed.size()};
    if (best && least <= rank) continue;
    least = rank;
    best = std::move(next);
  }
  return best;
}

std::string print_golden(const GoldenFile& file) {
  std::string out = "isobit-golden 1\nscenario \"" + escape(file.scenario) + "\"\n";
  for (const auto& [key, block] : file.blocks) print_block(block, out);
  if (file.ledger.empty()) return out;
  std::vector<const LedgerEntry*> entries;
  for (const LedgerEntry& entry : file.ledger) entries.push_back(&entry);
  std::stable_sort(entries.begin(), entries.end(),
                   [](const LedgerEntry* a, const LedgerEntry* b) { return a->key < b->key; });
  out += '\n';
  for (const LedgerEntry* entry : entries) {
    out += "ledger " + entry->key.class_hash + " " + entry->key.prompt_digest + " " +
           entry->block_hash + " " + entry->parent_hash + " \"" + escape(entry->prompt_id) +
           "\" \"" + escape(entry->by) + "\" \"" + escape(entry->reason) + "\"\n";
  }
  return out;
}

GoldenBlock make_block(const std::string& class_hash, const std::string& class_recipe,
                       const PromptTrace& prompt) {
  GoldenBlock block;
  block.key = {class_hash, to_hex(prompt.tokens_digest)};
  block.prompt_id = prompt.id;
  block.class_recipe = class_recipe;
  if (!class_recipe.empty() && class_recipe.back() != '\n') block.class_recipe += '\n';
  block.rows.reserve(prompt.tokens.size());
  for (const TokenRecord& token : prompt.tokens) {
    block.rows.push_back({token.position, token.digest, token.id});
  }
  return block;
}

}  // namespace isobit
