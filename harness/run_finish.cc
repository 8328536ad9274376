// Steps after the computation: verdicts, records, pending goldens, the report.

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "harness/cli/cli.h"
#include "harness/environment/environment.h"
#include "harness/run_steps.h"

namespace isobit {
namespace {

/// The last number of a text, commas dropped; GSM8K's way of reading an answer.
std::string last_number(const std::string& text) {
  std::string best, current;
  for (const char c : text + " ") {
    const bool digit = std::isdigit(static_cast<unsigned char>(c)) != 0;
    if (digit || (c == '.' && !current.empty()) || (c == '-' && current.empty())) {
      current += c;
    } else if (c != ',' || current.empty()) {
      while (!current.empty() && current.back() == '.') current.pop_back();
      if (!current.empty() && current != "-") best = current;
      current.clear();
    }
  }
  return best;
}

/// A reply ends where another role speaks; what counts is the text after its last "#### ", else all
/// of it (scenarios/prompts/README.md). A number may stand in a sentence.
bool answers(const PromptTrace& prompt) {
  std::string reply = prompt.text.substr(0, prompt.text.find("<|"));
  if (const std::size_t mark = reply.rfind("#### "); mark != std::string::npos) {
    reply.erase(0, mark + 5);
  }
  const std::size_t begin = reply.find_first_not_of(" \n\t");
  if (begin == std::string::npos) return false;
  reply = reply.substr(begin, reply.find_last_not_of(" \n\t") + 1 - begin);
  const std::string number = last_number(prompt.answer);
  return reply == prompt.answer ||
         (!number.empty() && number == prompt.answer && last_number(reply) == number);
}

std::string repro_line(const ScenarioRun& run, const Cell& cell) {
  std::vector<std::string> words{"isobit", "repro", run.scenario.path, "--cell",
                                 "/" + cell.hash.substr(0, 8)};
  for (const std::string& set : run.options->overrides) words.insert(words.end(), {"--set", set});
  return shell_line(words);
}

std::string token_text(const ScenarioRun& run, std::int32_t id) {
  if (!run.session->tokenizer || id < 0) return "";
  return run.session->tokenizer->decode(std::span(&id, 1));
}

ReportCell report_cell(const ScenarioRun& run, std::size_t i, const std::string& letter) {
  const JudgedCell& cell = run.cells[i];
  ReportCell out;
  out.name = cell.cell->name();
  out.name.resize(out.name.rfind(" /"));  // the hash has a field of its own
  out.hash = cell.cell->hash;
  for (const auto& [axis, value] : cell.cell->axes) out.axes[axis] = value.text;
  out.verdict = cell.judgement.verdict;
  out.severity = cell.judgement.severity;
  out.reason = cell.judgement.reason;
  out.class_label = letter;
  out.cached = cell.state == JudgedCell::State::cached;
  out.repro = repro_line(run, *cell.cell);
  out.divergence = cell.divergence;
  out.divergence.text_a = token_text(run, out.divergence.id_a);
  out.divergence.text_b = token_text(run, out.divergence.id_b);
  if (i < run.records.size()) out.cached_date = run.records[i].source_date;
  if (!cell.has_trace()) return out;
  const CellTrace& trace = cell.attempts.front();
  out.root = to_hex(cell_root(trace)).substr(0, 16);
  out.virtual_ranks = trace.observed.virtual_ranks;
  out.seconds = trace.seconds;
  for (const PromptTrace& prompt : trace.prompts) out.tokens += std::int64_t(prompt.tokens.size());
  return out;
}

/// A golden block may come only from a cell that nothing is wrong with.
bool trustworthy(const JudgedCell& cell) {
  const Verdict v = cell.judgement.verdict;
  return cell.has_trace() && !cell.class_hash.empty() &&
         (v == Verdict::pass || v == Verdict::nogold || v == Verdict::stale ||
          (v == Verdict::diff && cell.against < 0 && cell.divergence.against == "golden"));
}

}  // namespace

void judge_cells(ScenarioRun& run) {
  JudgeInput input;
  input.scenario = &run.scenario;
  input.matrix = &run.matrix;
  input.golden = run.options->judge_goldens ? &run.golden : nullptr;
  input.eos = run.session->eos;
  input.today = utc_now().substr(0, 10);
  input.filtered = run.filtered;
  input.within = run.within;
  run.judged = judge(input, run.cells);
}

Result<void> record_verdicts(ScenarioRun& run, int exit_code) {
  std::string all;
  for (std::size_t i = 0; i < run.cells.size(); ++i) {
    CellInfo& record = run.records[i];
    record.judgement = run.cells[i].judgement;
    record.judged = true;
    const Sha256 root =
        run.cells[i].has_trace() ? cell_root(run.cells[i].attempts.front()) : Sha256{};
    all.append(reinterpret_cast<const char*>(root.data()), root.size());
  }
  if (auto ok = run.store->judge(run.records); !ok) return ok;
  run.run.exit_code = exit_code;
  run.run.unseed = to_hex(sha256(all.data(), all.size()));
  if (!run.interrupted) run.run.finished = utc_now();
  return run.store->end_run(run.run);
}

Result<void> update_pending(ScenarioRun& run) {
  const std::string& update = run.options->update;
  if (update == "none" || run.interrupted || !run.options->judge_goldens) return {};
  const std::string path = pending_path(run.options->database, run.scenario.name);
  GoldenFile pending;
  pending.scenario = run.scenario.name;
  for (const JudgedCell& cell : run.cells) {
    if (!trustworthy(cell)) continue;
    for (const PromptTrace& prompt : cell.attempts.front().prompts) {
      const GoldenBlock block = make_block(cell.class_hash, cell.class_recipe, prompt);
      const GoldenBlock* blessed = run.golden.find(block.key);
      const bool wanted = blessed == nullptr || (update == "all" && blessed->rows != block.rows);
      if (wanted) pending.blocks.emplace(block.key, block);
    }
  }
  if (pending.blocks.empty()) return {};
  run.notes.push_back(std::to_string(pending.blocks.size()) + " golden blocks are pending in " +
                      path + "; `isobit bless` makes them goldens");
  return write_golden_file(path, pending);
}

Report make_report(ScenarioRun& run) {
  Report report;
  report.scenario = run.scenario.name;
  report.question = run.scenario.question;
  report.path = run.scenario.path;
  report.command = run.options->command;
  report.run = run.run.id;
  const std::vector<std::string> letters = class_letters(run.cells);
  report.prompts_correct = 0;
  for (std::size_t i = 0; i < run.cells.size(); ++i) {
    report.cells.push_back(report_cell(run, i, letters[i]));
    const ReportCell& cell = report.cells.back();
    ++report.counts[std::size_t(cell.verdict)];
    report.tokens += cell.tokens;
    if (run.cells[i].state == JudgedCell::State::executed) report.seconds += cell.seconds;
    if (!run.cells[i].has_trace()) continue;
    report.record_seconds += run.cells[i].attempts.front().record_seconds;
    for (const PromptTrace& prompt : run.cells[i].attempts.front().prompts) {
      if (prompt.answer.empty()) continue;
      ++report.prompts_scored;
      report.prompts_correct += answers(prompt) ? 1 : 0;
    }
  }
  if (report.prompts_scored == 0) report.prompts_correct = -1;
  report.counts[std::size_t(Verdict::obsolete)] = run.judged.obsolete;
  report.groups = run.judged.groups;
  report.notes = run.notes;
  report.notes.insert(report.notes.end(), run.judged.notes.begin(), run.judged.notes.end());
  if (run.out_of_time) report.notes.push_back("stopped by --max-time");
  report.cells_executed = run.executed;
  report.cells_cached = run.reused;
  report.tokens_compared = run.judged.tokens_compared;
  const auto environment = Environment::from_json(run.run.environment_json, "");
  if (environment) report.environment = environment->entries;
  return report;
}

RunOutcome outcome_of(const ScenarioRun& run) {
  RunOutcome outcome;
  std::int64_t skipped = 0;
  bool no_gpu = true, no_nccl = true, gpu_skipped = false;
  for (const JudgedCell& cell : run.cells) {
    ++outcome.counts[std::size_t(cell.judgement.verdict)];
    skipped += cell.judgement.verdict == Verdict::skip ? 1 : 0;
    if (cell.has_trace()) {
      const Observed& ran = cell.attempts.front().observed;
      if (ran.device != "cpu") no_gpu = false;
      if (ran.transport.starts_with("nccl")) no_nccl = false;
    }
    if (cell.state == JudgedCell::State::skipped && cell.cell->value("device") != "cpu") {
      gpu_skipped = true;
    }
  }
  outcome.counts[std::size_t(Verdict::obsolete)] = run.judged.obsolete;
  outcome.interrupted = run.interrupted;
  outcome.lenient = run.options->lenient;
  outcome.xfail_expired = run.judged.xfail_expired;
  outcome.compared_tokens = run.judged.tokens_compared;
  const RunOptions& options = *run.options;
  if (options.max_skip >= 0 && skipped > options.max_skip) outcome.environment_mismatch = true;
  for (const std::string& what : options.require) {
    const bool gpu = what == "gpu" || what == "nccl";
    if (gpu && (no_gpu || gpu_skipped)) outcome.environment_mismatch = true;
    if (what == "nccl" && no_nccl) outcome.environment_mismatch = true;
  }
  return outcome;
}

}  // namespace isobit
