// Goldens are written here and nowhere else: after two identical executed runs, with a reason.

#include <cstdio>
#include <filesystem>

#include "harness/run_steps.h"
#include "runtime/base/interrupt.h"

namespace isobit {
namespace {

/// Why these cells may not become goldens, or empty.
std::string refusal(const ScenarioRun& run) {
  if (run.interrupted || run.out_of_time) return "the run did not finish";
  std::int64_t usable = 0;
  for (const JudgedCell& cell : run.cells) {
    const Verdict v = cell.judgement.verdict;
    if (v != Verdict::pass && v != Verdict::skip && v != Verdict::xfail) {
      return cell.cell->name() + " is " + name_of(v) +
             (cell.judgement.reason.empty() ? "" : ": " + cell.judgement.reason);
    }
    usable += cell.has_trace() && !cell.class_hash.empty() ? 1 : 0;
  }
  return usable == 0 ? "no cell of the scenario has a golden class" : "";
}

struct Change {
  GoldenBlock block;
  std::string parent;     // "-": none
  Comparison comparison;  // with the parent
};

/// Blocks of all classes, new and changed ones with what changed.
std::vector<Change> changes_of(const ScenarioRun& run) {
  std::map<GoldenKey, Change> found;
  for (const JudgedCell& cell : run.cells) {
    if (!cell.has_trace() || cell.class_hash.empty()) continue;
    for (const PromptTrace& prompt : cell.attempts.front().prompts) {
      Change change;
      change.block = make_block(cell.class_hash, cell.class_recipe, prompt);
      const GoldenBlock* old = run.golden.find(change.block.key);
      if (old != nullptr && old->rows == change.block.rows) continue;
      change.parent = old == nullptr ? "-" : old->block_hash();
      if (old != nullptr) change.comparison = compare(prompt, *old);
      found.emplace(change.block.key, std::move(change));
    }
  }
  std::vector<Change> out;
  for (auto& [key, change] : found) out.push_back(std::move(change));
  return out;
}

void show(const Change& change) {
  if (change.parent == "-") {
    std::printf("new      %s  prompt %s, %zu tokens\n", change.block.block_hash().c_str(),
                change.block.prompt_id.c_str(), change.block.rows.size());
    return;
  }
  const Comparison& c = change.comparison;
  std::printf("changed  %s -> %s  prompt %s: %lld of %lld rows differ, %lld flipped%s\n",
              change.parent.c_str(), change.block.block_hash().c_str(),
              change.block.prompt_id.c_str(), static_cast<long long>(c.differing),
              static_cast<long long>(c.tokens), static_cast<long long>(c.flipped),
              c.flipped == 0 ? " (tokens equal)" : "");
}

}  // namespace

Result<int> bless(const BlessOptions& options) {
  if (options.reason.empty()) return Error{"a golden needs a --reason", ""};
  install_interrupt_handler();
  RunOptions again = options.run;
  again.fresh = true;
  again.repeat = 2;
  again.judge_goldens = false;
  again.update = "none";
  again.command = "bless";
  for (const std::string& path : again.scenarios) {
    ScenarioRun run;
    run.options = &again;
    if (auto ok = run_all(run, path); !ok) return ok.error();
    const std::string why = refusal(run);
    if (auto ok = record_verdicts(run, why.empty() ? 0 : kExitDifferent); !ok) return ok.error();
    if (!why.empty()) {
      std::fprintf(stderr, "isobit: nothing was blessed: %s\n", why.c_str());
      return run.interrupted ? kExitInterrupted : kExitDifferent;
    }
    const std::vector<Change> changes = changes_of(run);
    for (const Change& change : changes) show(change);
    std::printf("%s: %zu golden blocks new or changed, two executed runs were identical%s\n",
                run.scenario.name.c_str(), changes.size(), options.dry_run ? " (dry run)" : "");
    if (options.dry_run || changes.empty()) continue;
    const std::size_t untouched = run.golden.blocks.size();
    for (const Change& change : changes) {
      run.golden.blocks[change.block.key] = change.block;
      run.golden.ledger.push_back({change.block.block_hash(), change.parent, change.block.prompt_id,
                                   options.by, options.reason, change.block.key});
      const GoldenEvent event{"bless",
                              run.scenario.name,
                              change.block.key.class_hash,
                              change.block.prompt_id,
                              change.block.block_hash(),
                              change.parent,
                              options.by,
                              options.reason,
                              utc_now()};
      if (auto ok = run.store->record(event); !ok) return ok.error();
    }
    if (run.filtered && untouched > 0) {
      std::printf("note: the run was filtered; sibling classes were not refreshed\n");
    }
    std::error_code ignored;
    std::filesystem::create_directories(std::filesystem::path(run.golden_file).parent_path(),
                                        ignored);
    if (auto ok = write_golden_file(run.golden_file, run.golden); !ok) return ok.error();
    std::filesystem::remove(pending_path(again.database, run.scenario.name), ignored);
  }
  return kExitOk;
}

}  // namespace isobit
