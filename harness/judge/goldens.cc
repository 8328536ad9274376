// Cells against the blessed blocks of their class.
#include <algorithm>
#include <set>

#include "harness/judge/steps.h"

namespace isobit::judge_steps {
namespace {

void judge_stale(Judging& all, int i, const PromptTrace& prompt, const GoldenFile::Stale& stale) {
  std::string changed;
  for (const std::string& line : stale.changed) changed += (changed.empty() ? "" : "; ") + line;
  const bool equal = !compare(prompt, *stale.block).first;
  all.raise(i, {Verdict::stale, Severity::none,
                std::string("stale, bits ") + (equal ? "equal" : "differ") + " (" + changed + ")"});
}

void judge_block(Judging& all, int i, const PromptTrace& prompt, const GoldenBlock& block) {
  const Comparison c = compare(prompt, block, all.in.scenario.min_tokens);
  all.compared[std::size_t(i)] = true;
  all.out.tokens_compared += c.tokens;
  if (!c.first) {
    if (!c.mistrust.empty()) all.raise(i, {Verdict::mistrusted, Severity::none, c.mistrust});
    return;
  }
  all.raise(i, {Verdict::diff, c.severity,
                "differs from the golden at prompt " + prompt.id + ", position " +
                    std::to_string(c.first->position)});
  all.note_difference(i, c, "golden", -1);
}

/// The prompt's block, a stale one of another recipe, or none; adds the key that was used.
void judge_prompt(Judging& all, int i, const PromptTrace& prompt, std::set<GoldenKey>& used) {
  const JudgeCell& cell = all.cell(i);
  const GoldenFile& golden = *all.in.golden;
  const GoldenKey key{cell.class_hash, to_hex(prompt.tokens_digest)};
  used.insert(key);
  if (const GoldenBlock* block = golden.find(key)) return judge_block(all, i, prompt, *block);
  if (const auto stale = golden.stale(cell.class_recipe, prompt.id)) {
    used.insert(stale->block->key);
    return judge_stale(all, i, prompt, *stale);
  }
  const LedgerEntry* last = golden.last_entry(key);
  all.raise(i, {Verdict::nogold, Severity::none,
                "no golden for prompt " + prompt.id +
                    (last == nullptr ? std::string()
                                     : "; the ledger's last one is " + last->block_hash)});
}

}  // namespace

void judge_goldens(Judging& all) {
  std::set<GoldenKey> used;
  for (int i = 0; i < int(all.in.cells.size()); ++i) {
    const JudgeCell& cell = all.cell(i);
    if (cell.class_hash.empty() || !cell.has_trace()) continue;
    if (all.trace(i).status != CellStatus::ok) continue;
    for (const PromptTrace& prompt : all.trace(i).prompts) judge_prompt(all, i, prompt, used);
  }
  if (!all.in.whole) return;
  // A cell that was skipped, failed or did not run still asks for its blocks.
  for (const auto& [key, block] : all.in.golden->blocks) {
    if (all.in.asked.count(key) != 0 || used.count(key) != 0) continue;
    ++all.out.obsolete;
    all.out.notes.push_back("OBSOLETE golden " + block.block_hash() + " of prompt " +
                            block.prompt_id + ": no cell of the scenario asks for it; `isobit " +
                            "bless` or `isobit prune` retires it");
  }
}

}  // namespace isobit::judge_steps
