// Blocks in and out of pending/NAME.golden beside the database, one writer at a time.
#include "harness/pending.h"

#include <filesystem>
#include <functional>
#include <map>
#include <set>
#include <utility>

#include "golden/bless.h"

namespace isobit {
namespace {

/// A golden block may come only from a cell that nothing is wrong with.
bool trustworthy(const JudgeCell& cell, const CellResult& result) {
  const Verdict v = result.judgement.verdict;
  return gives_goldens(cell) &&
         (v == Verdict::pass || v == Verdict::nogold || v == Verdict::stale ||
          (v == Verdict::diff && result.against < 0 && result.difference.against == "golden"));
}

/// Blocks as the trustworthy cells gave them.
std::vector<GoldenBlock> produced_blocks(const RunResult& run) {
  std::vector<GoldenBlock> produced;
  for (std::size_t i = 0; i < run.traces.cells.size(); ++i) {
    const JudgeCell& cell = run.traces.cells[i];
    if (trustworthy(cell, run.judged.cells[i])) add_blocks(cell, produced);
  }
  return produced;
}

using Blocks = std::map<GoldenKey, GoldenBlock>;

/// Reads the file, changes its blocks and writes it, or takes it away when none is left; gives how
/// many are.
Result<std::size_t> change_pending(const std::string& path, const std::string& scenario,
                                   const std::function<void(Blocks&)>& change) {
  const auto lock = lock_pending(path);
  ISOBIT_TRY(lock);
  auto pending = read_pending_file(path, scenario);
  ISOBIT_TRY(pending);
  change(pending->blocks);
  std::error_code ignored;
  if (pending->blocks.empty()) {
    std::filesystem::remove(path, ignored);
  } else if (auto ok = write_golden_file(path, *pending); !ok) {
    return ok.error();
  }
  return pending->blocks.size();
}

}  // namespace

bool gives_goldens(const JudgeCell& cell) {
  return cell.has_trace() && !cell.class_hash.empty() && !is_twin(cell.attempts.front().observed);
}

void add_blocks(const JudgeCell& cell, std::vector<GoldenBlock>& blocks) {
  for (const PromptTrace& prompt : cell.attempts.front().prompts) {
    blocks.push_back(make_block(cell.class_hash, cell.class_recipe, prompt));
  }
}

Result<void> update_pending(RunResult& run, const RunOptions& options) {
  const bool own_goldens = run.by_goldens && options.golden_from.empty();
  const bool wanted = options.update != "none" && own_goldens;
  if (!wanted || run.traces.interrupted) return {};
  const std::vector<GoldenBlock> produced = produced_blocks(run);
  const std::string path = pending_path(options.database, run.loaded.scenario.name);
  std::error_code ignored;
  Blocks fresh;
  for (const GoldenChange& change : golden_changes(run.golden, produced)) {
    const bool is_new = change.old == nullptr;
    if (is_new || options.update == "all") fresh.emplace(change.block.key, change.block);
  }
  if (fresh.empty() && !std::filesystem::exists(path, ignored)) return {};
  const auto left = change_pending(path, run.loaded.scenario.name, [&](Blocks& waiting) {
    std::set<std::pair<std::string, std::string>> renewed;  // prompt id, what lasts of the recipe
    for (const GoldenBlock& block : produced) {
      renewed.emplace(block.prompt_id, lasting_lines(block.class_recipe));
    }
    std::erase_if(waiting, [&](const auto& each) {
      const GoldenBlock& block = each.second;
      const GoldenBlock* golden = run.golden.find(each.first);
      return renewed.count({block.prompt_id, lasting_lines(block.class_recipe)}) != 0 ||
             (golden != nullptr && golden->rows == block.rows) ||
             (run.whole && run.asked.count(block.asked_key()) == 0);
    });
    waiting.merge(fresh);
  });
  ISOBIT_TRY(left);
  if (*left > 0) {
    run.records.run.notes.push_back(std::to_string(*left) + " golden blocks are pending in " +
                                    path + "; `isobit bless` makes them goldens");
  }
  return {};
}

Result<void> settle_pending(const RunResult& run, const std::vector<GoldenBlock>& blessed,
                            const RunOptions& options) {
  const std::string path = pending_path(options.database, run.loaded.scenario.name);
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) return {};
  const auto left = change_pending(path, run.loaded.scenario.name, [&](Blocks& waiting) {
    for (const GoldenBlock& block : blessed) waiting.erase(block.key);
    std::erase_if(waiting, [&](const auto& each) {
      return run.whole && run.asked.count(each.second.asked_key()) == 0;
    });
  });
  ISOBIT_TRY(left);
  return {};
}

}  // namespace isobit
