// Cells against the blessed blocks of their class.
#include <algorithm>
#include <set>

#include "harness/judge/steps.h"

namespace isobit::judge_steps {
namespace {

void judge_stale(Judging& all, int i, const PromptTrace& prompt, const Predecessor& old) {
  std::string bits = "its tokens are others too";
  if (old.same_tokens) {
    bits = compare(prompt, *old.block).first ? "bits differ" : "bits equal";
  }
  all.raise(i, {Verdict::stale, Severity::none, "stale, " + bits + ": " + text_of(old.changed)});
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

/// The prompt's block, a stale one of another recipe, or none; adds the block that was used.
void judge_prompt(Judging& all, int i, const PromptTrace& prompt, const Predecessors& older,
                  std::set<const GoldenBlock*>& used) {
  const JudgeCell& cell = all.cell(i);
  const GoldenFile& golden = *all.in.golden;
  const GoldenKey key{cell.class_hash, to_hex(prompt.tokens_digest)};
  if (const GoldenBlock* block = golden.find(key)) {
    used.insert(block);
    return judge_block(all, i, prompt, *block);
  }
  const auto old = older.of(make_block(cell.class_hash, cell.class_recipe, prompt));
  if (old && !old->changed.empty()) {
    used.insert(old->block);
    return judge_stale(all, i, prompt, *old);
  }
  std::string why = "no golden for prompt " + prompt.id;
  const LedgerEntry* last = golden.last_entry(key);
  if (old) {
    why += ": its tokens are not those that block " + old->block->block_hash() + " stands for";
  } else if (last != nullptr) {
    why += "; the ledger's last one is " + last->block_hash;
  }
  all.raise(i, {Verdict::nogold, Severity::none, why});
}

}  // namespace

void judge_goldens(Judging& all) {
  std::set<const GoldenBlock*> used;
  const Predecessors older(*all.in.golden);
  for (int i = 0; i < int(all.in.cells.size()) && !all.stopped(); ++i) {
    const JudgeCell& cell = all.cell(i);
    if (!cell.wants_golden || !is_comparable(cell, all.strict.count(i) != 0)) continue;
    if (cell.class_hash.empty()) {
      all.raise(i, {Verdict::nogold, Severity::none,
                    "no golden can be found: its engine does not say which library and hardware "
                    "its bits depend on; `golden: {where: …}` can leave it out"});
      continue;
    }
    const std::string& evidence = all.trace(i).observed.evidence;
    if (evidence != name_of(Evidence::logits)) {
      all.raise(i, {Verdict::nogold, Severity::none,
                    "goldens are of logits rows, the evidence of this cell is " + evidence});
      continue;
    }
    for (const PromptTrace& prompt : all.trace(i).prompts)
      judge_prompt(all, i, prompt, older, used);
  }
  if (!all.in.whole || all.stopped()) return;
  constexpr std::int64_t kMostNamed = 3;
  // A cell that was skipped, failed or did not run still asks for its blocks.
  for (const auto& [key, block] : all.in.golden->blocks) {
    if (used.count(&block) != 0 || all.in.asked.count(block.asked_key()) != 0) continue;
    if (++all.out.obsolete > kMostNamed) continue;
    all.out.notes.push_back("OBSOLETE golden " + block.block_hash() + " of prompt " +
                            block.prompt_id + ": no cell of the scenario asks for it; `isobit " +
                            "bless` or `isobit prune` retires it");
  }
  if (all.out.obsolete > kMostNamed) {
    all.out.notes.push_back(std::to_string(all.out.obsolete - kMostNamed) +
                            " more golden blocks are OBSOLETE");
  }
}

}  // namespace isobit::judge_steps
