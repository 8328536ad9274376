// Two attempts of every cell, what they would change, the golden file and its ledger.
#include "harness/bless.h"

#include <cstdio>
#include <filesystem>

#include "golden/bless.h"
#include "runtime/base/interrupt.h"

namespace isobit {
namespace {

/// Why these cells may not become goldens, or empty.
std::string refusal(const RunResult& run) {
  if (run.traces.interrupted || run.traces.out_of_time) return "the run did not finish";
  std::int64_t usable = 0;
  for (std::size_t i = 0; i < run.judged.cells.size(); ++i) {
    const Judgement& judgement = run.judged.cells[i].judgement;
    const Verdict v = judgement.verdict;
    if (v != Verdict::pass && v != Verdict::skip && v != Verdict::xfail) {
      return run.plan.matrix.cells[i].name() + " is " + name_of(v) +
             (judgement.reason.empty() ? "" : ": " + judgement.reason);
    }
    const JudgeCell& cell = run.traces.cells[i];
    usable += cell.has_trace() && !cell.class_hash.empty() ? 1 : 0;
  }
  return usable == 0 ? "no cell of the scenario has a golden class" : "";
}

/// The prompt behind a block, for the comparison with what it replaces.
const PromptTrace* prompt_of(const RunResult& run, const GoldenKey& key) {
  for (const JudgeCell& cell : run.traces.cells) {
    if (!cell.has_trace() || cell.class_hash != key.class_hash) continue;
    for (const PromptTrace& prompt : cell.attempts.front().prompts) {
      if (to_hex(prompt.tokens_digest) == key.prompt_digest) return &prompt;
    }
  }
  return nullptr;
}

std::vector<GoldenBlock> blocks_of(const RunResult& run) {
  std::vector<GoldenBlock> blocks;
  for (const JudgeCell& cell : run.traces.cells) {
    if (!cell.has_trace() || cell.class_hash.empty()) continue;
    for (const PromptTrace& prompt : cell.attempts.front().prompts) {
      blocks.push_back(make_block(cell.class_hash, cell.class_recipe, prompt));
    }
  }
  return blocks;
}

void show(const RunResult& run, const GoldenChange& change) {
  const std::string hash = change.block.block_hash(), prompt = change.block.prompt_id;
  if (change.old == nullptr) {
    std::printf("new      %s  prompt %s, %zu tokens\n", hash.c_str(), prompt.c_str(),
                change.block.rows.size());
    return;
  }
  const Comparison c = compare(*prompt_of(run, change.block.key), *change.old);
  std::printf("changed  %s -> %s  prompt %s: %lld of %lld rows differ, %lld flipped%s\n",
              change.parent.c_str(), hash.c_str(), prompt.c_str(),
              static_cast<long long>(c.differing), static_cast<long long>(c.tokens),
              static_cast<long long>(c.flipped), c.flipped == 0 ? " (tokens equal)" : "");
}

/// Records the events, then writes the file.
Result<void> write(RunResult& run, const std::vector<GoldenChange>& changes,
                   const BlessOptions& options) {
  const std::size_t untouched = run.golden.blocks.size();
  const std::string scenario = run.loaded.scenario.name;
  for (const GoldenChange& change : changes) {
    const GoldenEvent event{"bless",
                            scenario,
                            change.block.key.class_hash,
                            change.block.prompt_id,
                            change.block.block_hash(),
                            change.parent,
                            options.by,
                            options.reason,
                            utc_now()};
    if (auto ok = run.records.store->record(event); !ok) return ok;
  }
  bless_blocks(run.golden, changes, options.by, options.reason);
  if (run.plan.filtered && untouched > 0) {
    std::printf("note: the run was filtered; sibling classes were not refreshed\n");
  }
  if (auto ok = write_golden_file(run.golden_file, run.golden); !ok) return ok;
  std::error_code ignored;
  std::filesystem::remove(pending_path(options.run.database, scenario), ignored);
  return {};
}

Result<int> bless_one(const std::string& path, const RunOptions& run_options,
                      const BlessOptions& options) {
  auto run = run_to_verdicts(path, run_options);
  ISOBIT_TRY(run);
  const std::string why = refusal(*run);
  if (auto ok = record_end(*run, run_options); !ok) return ok.error();
  if (!why.empty()) {
    std::fprintf(stderr, "isobit: nothing was blessed: %s\n", why.c_str());
    return int(run->traces.interrupted ? kExitInterrupted : kExitDifferent);
  }
  const std::vector<GoldenChange> changes = golden_changes(run->golden, blocks_of(*run));
  for (const GoldenChange& change : changes) show(*run, change);
  std::printf("%s: %zu golden blocks new or changed, two executed runs were identical%s\n",
              run->loaded.scenario.name.c_str(), changes.size(),
              options.dry_run ? " (dry run)" : "");
  if (options.dry_run || changes.empty()) return int(kExitOk);
  if (auto ok = write(*run, changes, options); !ok) return ok.error();
  return int(kExitOk);
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
  for (const std::string& path : again.scenarios) {
    auto code = bless_one(path, again, options);
    ISOBIT_TRY(code);
    if (*code != kExitOk) return *code;
  }
  return int(kExitOk);
}

}  // namespace isobit
