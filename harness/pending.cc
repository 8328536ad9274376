// Blocks in and out of pending/NAME.golden beside the database, one writer at a time.
#include "harness/pending.h"

#include <filesystem>

#include "golden/bless.h"

namespace isobit {
namespace {

/// A golden block may come only from a cell that nothing is wrong with.
bool trustworthy(const JudgeCell& cell, const CellResult& result) {
  const Verdict v = result.judgement.verdict;
  return cell.has_trace() && !cell.class_hash.empty() &&
         (v == Verdict::pass || v == Verdict::nogold || v == Verdict::stale ||
          (v == Verdict::diff && result.against < 0 && result.difference.against == "golden"));
}

/// Blocks as the trustworthy cells gave them.
std::vector<GoldenBlock> produced_blocks(const RunResult& run) {
  std::vector<GoldenBlock> produced;
  for (std::size_t i = 0; i < run.traces.cells.size(); ++i) {
    const JudgeCell& cell = run.traces.cells[i];
    if (!trustworthy(cell, run.judged.cells[i])) continue;
    for (const PromptTrace& prompt : cell.attempts.front().prompts) {
      produced.push_back(make_block(cell.class_hash, cell.class_recipe, prompt));
    }
  }
  return produced;
}

}  // namespace

Result<void> update_pending(RunResult& run, const RunOptions& options) {
  const bool own_goldens = options.judge_goldens && options.golden_from.empty();
  const bool wanted = options.update != "none" && own_goldens;
  if (!wanted || run.traces.interrupted) return {};
  const std::vector<GoldenBlock> produced = produced_blocks(run);
  const std::string path = pending_path(options.database, run.loaded.scenario.name);
  std::error_code ignored;
  std::map<GoldenKey, GoldenBlock> fresh;
  for (const GoldenChange& change : golden_changes(run.golden, produced)) {
    const bool is_new = change.old == nullptr;
    if (is_new || options.update == "all") fresh.emplace(change.block.key, change.block);
  }
  if (fresh.empty() && !std::filesystem::exists(path, ignored)) return {};
  const auto lock = lock_pending(path);
  ISOBIT_TRY(lock);
  auto pending = read_pending_file(path, run.loaded.scenario.name);
  ISOBIT_TRY(pending);
  for (const GoldenBlock& block : produced) pending->blocks.erase(block.key);
  std::erase_if(pending->blocks, [&](const auto& waiting) {
    const GoldenBlock* golden = run.golden.find(waiting.first);
    return golden != nullptr && golden->rows == waiting.second.rows;
  });
  pending->blocks.merge(fresh);
  if (pending->blocks.empty()) {
    std::filesystem::remove(path, ignored);
    return {};
  }
  run.records.run.notes.push_back(std::to_string(pending->blocks.size()) +
                                  " golden blocks are pending in " + path +
                                  "; `isobit bless` makes them goldens");
  return write_golden_file(path, *pending);
}

Result<void> settle_pending(const RunResult& run, const std::vector<GoldenBlock>& blessed,
                            const RunOptions& options) {
  const std::string path = pending_path(options.database, run.loaded.scenario.name);
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) return {};
  const auto lock = lock_pending(path);
  ISOBIT_TRY(lock);
  auto pending = read_pending_file(path, run.loaded.scenario.name);
  ISOBIT_TRY(pending);
  for (const GoldenBlock& block : blessed) pending->blocks.erase(block.key);
  std::erase_if(pending->blocks, [&](const auto& waiting) {
    return run.whole && run.asked.count(waiting.first) == 0;
  });
  if (!pending->blocks.empty()) return write_golden_file(path, *pending);
  std::filesystem::remove(path, ignored);
  return {};
}

}  // namespace isobit
