// New and changed blocks, the ledger, and where files lie.
#include "golden/bless.h"

#include <filesystem>
#include <map>

namespace isobit {

std::vector<GoldenChange> golden_changes(const GoldenFile& file,
                                         const std::vector<GoldenBlock>& produced) {
  std::map<GoldenKey, GoldenChange> found;
  const Predecessors older(file);
  for (const GoldenBlock& block : produced) {
    const GoldenBlock* old = file.find(block.key);
    if (old != nullptr && old->rows == block.rows) continue;
    GoldenChange change{block, old == nullptr ? "-" : old->block_hash(), old, {}};
    if (old == nullptr) change.before = older.of(block);
    found.emplace(block.key, std::move(change));
  }
  std::vector<GoldenChange> out;
  for (auto& [key, change] : found) out.push_back(std::move(change));
  return out;
}

std::string review_hash(const std::vector<GoldenChange>& changes) {
  std::string text = "isobit review 1\n";
  for (const GoldenChange& change : changes) {
    const GoldenBlock* reference = change.reference();
    text +=
        change.block.key.class_hash + " " + change.block.key.prompt_digest + " " +
        change.block.block_hash() + " " +
        (reference == nullptr ? "-" : reference->key.class_hash + " " + reference->block_hash()) +
        "\n";
  }
  return to_hex(sha256(text.data(), text.size())).substr(0, 16);
}

void bless_blocks(GoldenFile& file, const std::vector<GoldenChange>& changes, const std::string& by,
                  const std::string& reason) {
  for (const GoldenChange& change : changes) {
    file.ledger.push_back({change.block.block_hash(), change.parent, change.block.prompt_id, by,
                           reason, change.block.key});
    file.blocks[change.block.key] = change.block;
  }
}

std::vector<GoldenBlock> unasked_blocks(const GoldenFile& file, const std::set<GoldenKey>& asked) {
  std::vector<GoldenBlock> out;
  for (const auto& [key, block] : file.blocks) {
    if (asked.count(block.asked_key()) == 0) out.push_back(block);
  }
  return out;
}

std::vector<GoldenBlock> outdated_blocks(const GoldenFile& file,
                                         const std::vector<GoldenBlock>& produced,
                                         const std::set<GoldenKey>& asked) {
  std::set<std::pair<std::string, std::string>> renewed;  // class, prompt id
  for (const GoldenBlock& block : produced) {
    renewed.emplace(block.key.class_hash, block.prompt_id);
  }
  std::vector<GoldenBlock> out = unasked_blocks(file, asked);
  std::erase_if(out, [&](const GoldenBlock& block) {
    return renewed.count({block.key.class_hash, block.prompt_id}) == 0;
  });
  return out;
}

void retire_blocks(GoldenFile& file, const std::vector<GoldenBlock>& retired, const std::string& by,
                   const std::string& reason) {
  for (const GoldenBlock& block : retired) {
    file.ledger.push_back({kRetired, block.block_hash(), block.prompt_id, by, reason, block.key});
    file.blocks.erase(block.key);
  }
}

std::string golden_path(const std::string& scenario_path, const std::string& scenario_name,
                        const std::string& folder) {
  namespace fs = std::filesystem;
  const std::string file = scenario_name + ".golden";
  if (!folder.empty()) return (fs::path(folder) / file).string();
  std::error_code ignored;
  const fs::path start = fs::absolute(scenario_path, ignored).lexically_normal().parent_path();
  for (fs::path at = start; !at.empty(); at = at.parent_path()) {
    if (fs::is_directory(at / "golden", ignored)) return (at / "golden" / file).string();
    if (at == at.root_path()) break;
  }
  return (start / "golden" / file).string();
}

std::string pending_folder(const std::string& database) {
  return (std::filesystem::path(database).parent_path() / "pending").string();
}

std::string pending_path(const std::string& database, const std::string& scenario_name) {
  return (std::filesystem::path(pending_folder(database)) / (scenario_name + ".golden")).string();
}

Result<FolderLock> lock_pending(const std::string& path) {
  namespace fs = std::filesystem;
  std::error_code ignored;
  const fs::path folder = fs::path(path).parent_path();
  for (const fs::path& each : {folder, fs::path(path)}) {
    if (fs::is_symlink(each, ignored)) return Error{"is a link; remove it", each.string()};
  }
  return FolderLock::take(folder.string());
}

}  // namespace isobit
