// Two attempts of every cell, what they would change, the golden file and its ledger.
#include "harness/bless.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <map>
#include <optional>
#include <set>

#include "golden/bless.h"
#include "harness/explain/change.h"
#include "harness/pending.h"
#include "reports/describe.h"
#include "runtime/base/interrupt.h"
#include "runtime/base/text.h"

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
    usable += gives_goldens(cell) ? 1 : 0;
  }
  return usable == 0 ? "no cell of the scenario has a golden class of its own" : "";
}

/// Every prompt of every cell with a class. An expected failure gives a block only where no cell
/// that passed does, and only with attempts that agree.
std::vector<GoldenBlock> blocks_of(const RunResult& run) {
  std::vector<GoldenBlock> blocks;
  for (const bool expected_failures : {false, true}) {
    for (std::size_t i = 0; i < run.traces.cells.size(); ++i) {
      const JudgeCell& cell = run.traces.cells[i];
      const bool failed = run.judged.cells[i].judgement.verdict == Verdict::xfail;
      if (failed != expected_failures || !gives_goldens(cell)) continue;
      const Sha256 root = cell_root(cell.attempts.front());
      const bool agree =
          std::all_of(cell.attempts.begin(), cell.attempts.end(),
                      [&](const CellTrace& attempt) { return cell_root(attempt) == root; });
      if (agree) add_blocks(cell, blocks);
    }
  }
  return blocks;
}

int refused(const std::string& why) {
  std::fprintf(stderr, "isobit: nothing was blessed: %s\n", text::printable(why).c_str());
  return kExitDifferent;
}

/// What a scenario or a golden file holds may be anything: one printable line.
void print_line(const std::string& line) {
  std::printf("%s\n", text::printable(line).c_str());
}

/// The tokenizer of the model that gave a class's rows, or null.
const Tokenizer* tokenizer_of(const RunResult& run, const std::string& class_hash) {
  for (std::size_t i = 0; i < run.plan.cells.size(); ++i) {
    if (run.plan.cells[i].class_hash != class_hash) continue;
    const auto& tokenizer = run.loaded.session.of(run.plan.matrix.cells[i]).tokenizer;
    return tokenizer ? &*tokenizer : nullptr;
  }
  return nullptr;
}

/// What changes, and every cause once.
void show(const RunResult& run, const std::vector<GoldenChange>& changes) {
  Witnesses witnesses(run.records.store.get());
  std::map<std::string, std::int64_t> causes;
  for (const GoldenChange& change : changes) {
    const ChangeView view =
        view_of(witnesses, change, tokenizer_of(run, change.block.key.class_hash));
    if (!view.cause.empty()) ++causes[view.cause];
    for (const std::string& line : lines_of(view)) print_line(line);
  }
  for (const std::string& line : counted_causes(causes, "block")) print_line(line);
}

/// Why what two runs gave is not what was reviewed, or empty.
Result<std::string> not_as_reviewed(const std::vector<GoldenChange>& changes,
                                    const GoldenFile& golden, const RunResult& run,
                                    const BlessOptions& options) {
  if (review_hash(changes) == options.reviewed) return std::string();
  const std::string name = run.loaded.scenario.name;
  auto pending = read_pending_file(pending_path(options.run.database, name), name);
  ISOBIT_TRY(pending);
  std::vector<GoldenBlock> waiting;
  for (const auto& [key, block] : pending->blocks) waiting.push_back(block);
  if (review_hash(golden_changes(golden, waiting)) != options.reviewed) {
    return "what waits is not what was reviewed as " + options.reviewed +
           "; `isobit review` shows it";
  }
  std::int64_t other = 0, more = 0, equal = 0;
  for (const GoldenChange& change : changes) {
    const GoldenBlock* block = pending->find(change.block.key);
    ++(block == nullptr ? more : block->rows == change.block.rows ? equal : other);
  }
  const std::int64_t missing = std::int64_t(waiting.size()) - equal - other;
  return "two executed runs gave something else than what was reviewed: " + std::to_string(other) +
         " blocks with other bits, " + std::to_string(more) + " that were not reviewed, " +
         std::to_string(missing) + " reviewed ones not there; run and review again";
}

/// What is taken out of the file as it is now: nothing where --set asks another question than the
/// file as written.
std::vector<GoldenBlock> retired_of(const RunResult& run, const GoldenFile& file,
                                    const std::vector<GoldenBlock>& produced) {
  if (!run.records.run.overrides.empty()) return {};
  return run.whole ? unasked_blocks(file, run.asked) : outdated_blocks(file, produced, run.asked);
}

/// Of them, those that a reviewed change stands for: nothing else was seen.
void keep_reviewed(const std::vector<GoldenChange>& changes, std::vector<GoldenBlock>& retired) {
  std::set<GoldenKey> replaced;
  for (const GoldenChange& change : changes) {
    if (change.before) replaced.insert(change.before->block->key);
  }
  std::erase_if(retired, [&](const GoldenBlock& b) { return replaced.count(b.key) == 0; });
}

/// The file is written first: an event stands for a block that is there.
Result<void> record_events(RunResult& run, const std::vector<GoldenChange>& changes,
                           const std::vector<GoldenBlock>& retired, const BlessOptions& options) {
  GoldenEvent event;
  event.scenario = run.loaded.scenario.name;
  event.by = options.by, event.reason = options.reason, event.at = utc_now();
  const auto record = [&](const char* action, const GoldenBlock& block, const std::string& hash,
                          const std::string& parent) {
    event.action = action, event.class_hash = block.key.class_hash;
    event.prompt_id = block.prompt_id, event.block_hash = hash, event.parent_hash = parent;
    return run.records.store->record(event);
  };
  for (const GoldenChange& change : changes) {
    auto ok = record("bless", change.block, change.block.block_hash(), change.parent);
    if (!ok) return ok;
  }
  for (const GoldenBlock& block : retired) {
    if (auto ok = record("retire", block, kRetired, block.block_hash()); !ok) return ok;
  }
  return {};
}

/// Compares with the file as it is now, shows what changes and, but in a dry run, writes it. Two
/// blessings at once take turns: neither loses what the other wrote.
Result<int> bless_blocks_of(RunResult& run, const BlessOptions& options) {
  std::optional<FolderLock> lock;
  if (!options.dry_run) {
    auto taken = FolderLock::take(std::filesystem::path(run.golden_file).parent_path().string());
    ISOBIT_TRY(taken);
    lock.emplace(std::move(*taken));
  }
  auto file = read_golden_file(run.golden_file, run.loaded.scenario.name);
  ISOBIT_TRY(file);
  const std::vector<GoldenBlock> produced = blocks_of(run);
  const std::vector<GoldenChange> changes = golden_changes(*file, produced);
  std::vector<GoldenBlock> retired = retired_of(run, *file, produced);
  if (!options.reviewed.empty()) {
    const std::size_t all = retired.size();
    keep_reviewed(changes, retired);
    if (all > retired.size()) {
      print_line("note: " + std::to_string(all - retired.size()) +
                 " blocks that nobody asks for were not reviewed and stay; `isobit prune` retires "
                 "them");
    }
    const auto why = not_as_reviewed(changes, *file, run, options);
    ISOBIT_TRY(why);
    if (!why->empty()) return refused(*why);
  }
  show(run, changes);
  for (const GoldenBlock& block : retired) {
    print_line("retired  " + block.block_hash() + "  prompt " + block.prompt_id);
  }
  const std::string also = retired.empty() ? "" : std::to_string(retired.size()) + " retired, ";
  print_line(run.loaded.scenario.name + ": " + std::to_string(changes.size()) +
             " golden blocks new or changed, " + also + "two executed runs were identical: " +
             seen_text(2) + (options.dry_run ? " (dry run)" : ""));
  if (options.dry_run || (changes.empty() && retired.empty())) return int(kExitOk);
  if (!run.whole && !file->blocks.empty()) {
    print_line("note: the run was not the whole scenario; sibling classes were not refreshed");
  }
  bless_blocks(*file, changes, options.by, options.reason);
  retire_blocks(*file, retired, options.by, options.reason);
  if (auto ok = write_golden_file(run.golden_file, *file); !ok) return ok.error();
  if (auto ok = record_events(run, changes, retired, options); !ok) return ok.error();
  if (auto ok = settle_pending(run, produced, options.run); !ok) return ok.error();
  return int(kExitOk);
}

Result<int> bless_one(const std::string& path, const RunOptions& run_options,
                      const BlessOptions& options) {
  auto run = run_to_verdicts(path, run_options);
  ISOBIT_TRY(run);
  const std::string why = refusal(*run);
  if (auto ok = record_end(*run, run_options); !ok) return ok.error();
  if (!why.empty()) {
    const int code = refused(why);
    return run->traces.interrupted ? int(kExitInterrupted) : code;
  }
  return bless_blocks_of(*run, options);
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
  if (auto ok = check_names(again); !ok) return ok.error();
  for (const std::string& path : again.scenarios) {
    const auto scenario = load_scenario(path, again.overrides);
    if (scenario && scenario->golden.none) {
      return Error{"the scenario says golden: none; there is nothing to bless",
                   scenario->golden.place};
    }
  }
  for (const std::string& path : again.scenarios) {
    auto code = bless_one(path, again, options);
    ISOBIT_TRY(code);
    if (*code != kExitOk) return *code;
  }
  return int(kExitOk);
}

}  // namespace isobit
