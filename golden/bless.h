// What a blesser would change in a golden file, and the change itself. Pure values.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "golden/golden.h"
#include "runtime/base/lock.h"

namespace isobit {

/// A new block, or one whose rows are others than those blessed.
struct GoldenChange {
  GoldenBlock block;
  std::string parent = "-";          // hash of the block that it replaces; "-": none
  const GoldenBlock* old = nullptr;  // that block, in the file it was compared with
  /// Of a new block: what was blessed of the same prompt id under another recipe, or other tokens.
  std::optional<Predecessor> before;
  /// What its rows are compared with: `old`, the predecessor, or nullptr.
  [[nodiscard]] const GoldenBlock* reference() const {
    return old != nullptr ? old : before ? before->block : nullptr;
  }
};
/// By key. `produced`: blocks as cells gave them; of equal keys the first one counts. The changes
/// point into `file` until that changes.
std::vector<GoldenChange> golden_changes(const GoldenFile& file,
                                         const std::vector<GoldenBlock>& produced);
/// Names a set of changes: 16 hex digits over every block's key and hash and those of what it
/// stands for. Who reviewed a set may bless that one and no other. REQUIRES: sorted by key.
std::string review_hash(const std::vector<GoldenChange>& changes);
/// Writes the blocks and a ledger line each.
void bless_blocks(GoldenFile& file, const std::vector<GoldenChange>& changes, const std::string& by,
                  const std::string& reason);

/// Blocks whose key nobody asks for: what an unfiltered bless retires, and `prune`. `asked` holds
/// GoldenBlock::asked_key() of those wanted: the goldens of another machine's library or GPU are
/// asked for as well.
std::vector<GoldenBlock> unasked_blocks(const GoldenFile& file, const std::set<GoldenKey>& asked);
/// What a filtered bless retires: blocks of a class that was produced whose prompt id has new
/// tokens there.
std::vector<GoldenBlock> outdated_blocks(const GoldenFile& file,
                                         const std::vector<GoldenBlock>& produced,
                                         const std::set<GoldenKey>& asked);
/// Takes the blocks out; a ledger line each keeps what was there, by whom it went and why.
void retire_blocks(GoldenFile& file, const std::vector<GoldenBlock>& retired, const std::string& by,
                   const std::string& reason);

/// `golden/NAME.golden` of the project that holds the scenario: in the nearest parent folder with a
/// `golden` folder; else in `golden` beside the scenario. `folder` other than "": there.
std::string golden_path(const std::string& scenario_path, const std::string& scenario_name,
                        const std::string& folder);
/// pending/ beside the database, and NAME.golden in it.
std::string pending_folder(const std::string& database);
std::string pending_path(const std::string& database, const std::string& scenario_name);
/// For reading, changing and writing a pending file, or taking it away. A link in its place, or
/// instead of its folder, is refused: it would be written through onto any file.
Result<FolderLock> lock_pending(const std::string& path);

}  // namespace isobit
