// New and changed blocks, the ledger, and where files lie.
#include "golden/bless.h"

#include <filesystem>
#include <map>

namespace isobit {

std::vector<GoldenChange> golden_changes(const GoldenFile& file,
                                         const std::vector<GoldenBlock>& produced) {
  std::map<GoldenKey, GoldenChange> found;
  for (const GoldenBlock& block : produced) {
    const GoldenBlock* old = file.find(block.key);
    if (old != nullptr && old->rows == block.rows) continue;
    GoldenChange change{block, old == nullptr ? "-" : old->block_hash(), old};
    found.emplace(block.key, std::move(change));
  }
  std::vector<GoldenChange> out;
  for (auto& [key, change] : found) out.push_back(std::move(change));
  return out;
}

void bless_blocks(GoldenFile& file, const std::vector<GoldenChange>& changes, const std::string& by,
                  const std::string& reason) {
  for (const GoldenChange& change : changes) {
    file.ledger.push_back({change.block.block_hash(), change.parent, change.block.prompt_id, by,
                           reason, change.block.key});
    file.blocks[change.block.key] = change.block;
  }
}

std::string golden_path(const std::string& scenario_path, const std::string& scenario_name,
                        const std::string& folder) {
  namespace fs = std::filesystem;
  const std::string file = scenario_name + ".golden";
  if (!folder.empty()) return (fs::path(folder) / file).string();
  std::error_code ignored;
  const fs::path start = fs::absolute(scenario_path, ignored).parent_path();
  for (fs::path at = start; !at.empty(); at = at.parent_path()) {
    if (fs::is_directory(at / "golden", ignored)) return (at / "golden" / file).string();
    if (at == at.root_path()) break;
  }
  return (start / "golden" / file).string();
}

std::string pending_path(const std::string& database, const std::string& scenario_name) {
  const std::filesystem::path folder = std::filesystem::path(database).parent_path();
  return (folder / "pending" / (scenario_name + ".golden")).string();
}

}  // namespace isobit
