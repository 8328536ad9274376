// Goldens: the blessed trace of a class, one block a prompt (golden/FORMAT.md).
//
// Small, sorted, merge-friendly text without timestamps and absolute paths. One file a scenario:
// golden/<scenario>.golden; pending ones in .isobit/pending/<scenario>.golden. Reading is strict:
// a broken line is an error with file:line and nothing is lost. Only bless writes goldens.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "golden/recipe.h"
#include "runtime/base/result.h"
#include "runtime/trace.h"

namespace isobit {

struct GoldenRow {
  std::int64_t position = 0;
  Digest digest;
  std::int32_t id = -1;
  bool operator==(const GoldenRow&) const = default;
};

struct GoldenKey {
  std::string class_hash;     // hex SHA-256 of the class recipe
  std::string prompt_digest;  // hex SHA-256 of the prompt's tokens
  auto operator<=>(const GoldenKey&) const = default;
};

struct GoldenBlock {
  GoldenKey key;
  std::string prompt_id;
  std::string class_recipe;                      // sorted key=value lines (golden/recipe.h)
  std::vector<GoldenRow> rows;                   // by position
  [[nodiscard]] std::string block_hash() const;  // hex SHA-256 over key and rows (first 16 digits)
  /// The key by which a scenario asks for it: the class without what the machine adds.
  [[nodiscard]] GoldenKey asked_key() const;
};

/// Stands for a block's hash in the ledger where a block was taken out.
constexpr const char* kRetired = "retired";

/// One line of the ledger: who blessed which block, why, and what it replaced.
struct LedgerEntry {
  std::string block_hash;   // or kRetired
  std::string parent_hash;  // "-": none
  std::string prompt_id;
  std::string by, reason;
  GoldenKey key;
};

struct GoldenFile {
  std::string scenario;
  std::map<GoldenKey, GoldenBlock> blocks;
  std::vector<LedgerEntry> ledger;  // oldest first

  [[nodiscard]] const GoldenBlock* find(const GoldenKey& key) const;
  /// The ledger's last entry for a key (a deleted golden is NOGOLD and names it), or nullptr.
  [[nodiscard]] const LedgerEntry* last_entry(const GoldenKey& key) const;
};

Result<GoldenFile> parse_golden(const std::string& text, const std::string& place);
std::string print_golden(const GoldenFile& file);
/// What only a blessed file promises: every block's class is the SHA-256 of its recipe and its hash
/// is the last of the ledger for its key; every other key of the ledger ends with kRetired. A cut,
/// an edit by hand and half a merge do not fit.
Result<void> check_ledger(const GoldenFile& file, const std::string& place);
/// A missing file is an empty GoldenFile. Writing is atomic (temporary file, fsync, rename).
Result<GoldenFile> read_golden_file(const std::string& path, const std::string& scenario);
/// The same without a ledger: blocks that wait for a decision.
Result<GoldenFile> read_pending_file(const std::string& path, const std::string& scenario);
Result<void> write_golden_file(const std::string& path, const GoldenFile& file);
/// The file as of a Git revision (`git show REV:path`), for check --golden-from.
Result<GoldenFile> read_golden_revision(const std::string& path, const std::string& revision,
                                        const std::string& scenario);

/// A block of another recipe, or of other tokens, of the same prompt id and otherwise the same
/// class: what a missing block is told beside.
struct Predecessor {
  const GoldenBlock* block = nullptr;
  std::vector<RecipeChange> changed;  // only keys that may go stale
  bool same_tokens = false;           // of the prompt: its rows can be compared
};
/// Finds them in a file that outlives it; the file's recipes are read once.
class Predecessors {
 public:
  explicit Predecessors(const GoldenFile& file);
  /// First those of the same tokens, of them those of the same rows, of them the one with the
  /// fewest changed lines. A block of the wanted one's key itself is not meant.
  [[nodiscard]] std::optional<Predecessor> of(const GoldenBlock& wanted) const;

 private:
  /// By prompt id and the recipe's lines that may not go stale.
  std::map<std::pair<std::string, std::string>, std::vector<const GoldenBlock*>> comparable_;
};

/// Block of a prompt's trace.
GoldenBlock make_block(const std::string& class_hash, const std::string& class_recipe,
                       const PromptTrace& prompt);

}  // namespace isobit
