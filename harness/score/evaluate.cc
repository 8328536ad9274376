// One function a score, and the ratio of sums.
#include "harness/score/evaluate.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>

#include "harness/score/ifeval.h"
#include "harness/score/reply.h"
#include "runtime/numerics/functions.h"

namespace isobit {
namespace {

constexpr double kLog2 = 0x1.62e42fefa39efp-1;

using Lines = std::vector<ScoreLine>;

/// The values of a score, without a unit yet.
std::vector<ScoreOutcomes> values_of(ScoreKind kind) {
  std::vector<ScoreOutcomes> out;
  for (const ScoreEntry& entry : all_scores()) {
    if (entry.kind == kind) out.emplace_back().entry = &entry;
  }
  return out;
}

bool has_what_it_needs(ScoreKind kind, const ScoreLine& line) {
  switch (kind) {
    case ScoreKind::answer:
      return !line.answer.empty();
    case ScoreKind::last_number:
      return has_gold_number(line.answer);
    case ScoreKind::ifeval:
      return !line.instructions.empty();
    case ScoreKind::next_string:
      return is_one_string(line.answer);
    case ScoreKind::retrieval:
      return !line.values.empty();
    case ScoreKind::choice:
      return line.choice >= 0;
    case ScoreKind::likelihood:
      return true;
  }
  return false;
}

bool is_right(ScoreKind kind, const ScoreLine& line, const std::string& reply,
              const ScoreSpec& spec) {
  if (kind == ScoreKind::last_number) return is_last_number(reply, line.answer);
  if (kind == ScoreKind::next_string) return is_next_string(reply, line.answer, spec);
  if (kind == ScoreKind::retrieval) {
    return is_retrieved(reply, line.answer, line.values, spec.ignore_case);
  }
  return is_answer(reply, line.answer);
}

void add_reply(const ScoreSpec& spec, const ScoreLine& line, const std::string& reply,
               std::vector<ScoreOutcomes>& out) {
  ScoreSpec relaxed = spec;
  relaxed.ignore_case = relaxed.ignore_punctuation = true;
  const auto as_unit = [&](bool right) { return Outcome{line.line, right ? 1.0 : 0.0, 1}; };
  out[0].units.push_back(as_unit(is_right(spec.kind, line, reply, spec)));
  if (out.size() > 1) out[1].units.push_back(as_unit(is_right(spec.kind, line, reply, relaxed)));
}

void add_instructions(const ScoreLine& line, const std::string& reply,
                      std::vector<ScoreOutcomes>& out) {
  bool all_judged = true;
  for (const bool loose : {false, true}) {
    ScoreOutcomes &prompts = out[loose ? 1 : 0], &instructions = out[loose ? 3 : 2];
    bool all_hold = true;
    for (const Instruction& one : line.instructions) {
      const bool judged = is_judged(one);
      all_judged = all_judged && judged;
      if (!judged) continue;
      const bool holds = loose ? follows_loosely(one, reply) : follows(one, reply);
      all_hold = all_hold && holds;
      instructions.units.push_back({line.line, holds ? 1.0 : 0.0, 1});
    }
    if (all_judged) prompts.units.push_back({line.line, all_hold ? 1.0 : 0.0, 1});
    if (!all_judged) ++prompts.left_out;
  }
}

/// What a prompt's fed tokens are worth: sum of -log p and their number; none where a row has no
/// log-probability.
struct Fed {
  double nll = 0;
  std::int64_t tokens = 0;
};
std::optional<Fed> fed_of(const PromptTrace& prompt) {
  Fed out;
  for (const TokenRecord& token : prompt.tokens) {
    if (token.fed < 0) continue;  // nothing was fed behind the last row
    if (!std::isfinite(token.fed_logit) || !std::isfinite(token.log_sum)) return std::nullopt;
    out.nll += token.log_sum - token.fed_logit;
    ++out.tokens;
  }
  if (out.tokens == 0) return std::nullopt;
  return out;
}

void refuse(std::vector<ScoreOutcomes>& out, const std::string& reason, bool broken) {
  for (ScoreOutcomes& one : out) {
    one.units.clear();
    one.reason = reason;
    one.broken = broken;
  }
}

std::string no_log_p(const ScoreLine& line) {
  return "prompt " + line.id + " has no log-probabilities of what was fed";
}

void add_likelihoods(const Lines& lines, const CellTrace& trace, const std::string& taught,
                     std::vector<ScoreOutcomes>& out) {
  for (std::size_t p = 0; p < lines.size(); ++p) {
    const std::optional<Fed> fed = fed_of(trace.prompts[p]);
    if (!fed) return refuse(out, no_log_p(lines[p]), false);
    const std::string& text = taught == "answer" ? lines[p].answer : lines[p].given;
    for (std::size_t v = 0; v < 2; ++v) {
      out[v].units.push_back({lines[p].line, fed->nll, double(fed->tokens)});
    }
    out[2].units.push_back({lines[p].line, fed->nll / kLog2, double(text.size())});
    if (taught == "answer" || (taught == "continuation" && !text.empty())) continue;
    out[2].reason = "what was fed is no text of the prompt file";
  }
  if (!out[2].reason.empty()) out[2].units.clear();
}

/// The choices of one line, from `begin`: the number of the best by a key, the first of equals.
template <class Key>
int best_of(std::size_t choices, const Key& key) {
  std::size_t best = 0;
  for (std::size_t c = 1; c < choices; ++c) {
    if (key(c) > key(best)) best = c;
  }
  return int(best);
}

void add_choices(const Lines& lines, const CellTrace& trace, const std::string& taught,
                 std::vector<ScoreOutcomes>& out) {
  if (taught != "continuation") {
    return refuse(out, "the cell is not fed its choices: teacher_forced is " + taught, false);
  }
  for (std::size_t begin = 0, end = 0; begin < lines.size(); begin = end) {
    end = begin + 1;
    if (lines[begin].choice < 0) continue;
    while (end < lines.size() && lines[end].line == lines[begin].line) ++end;
    std::vector<double> log_p;
    for (std::size_t p = begin; p < end; ++p) {
      const std::optional<Fed> fed = fed_of(trace.prompts[p]);
      if (!fed) return refuse(out, no_log_p(lines[p]), false);
      log_p.push_back(-fed->nll);
    }
    const int by_sum = best_of(log_p.size(), [&](std::size_t c) { return log_p[c]; });
    const int by_byte = best_of(log_p.size(), [&](std::size_t c) {
      return log_p[c] / double(std::max<std::size_t>(lines[begin + c].given.size(), 1));
    });
    const ScoreLine& line = lines[begin];
    if (line.given.empty()) out[1].reason = "a choice has no text, and so no bytes";
    out[0].units.push_back({line.line, by_sum == line.right ? 1.0 : 0.0, 1});
    out[1].units.push_back({line.line, by_byte == line.right ? 1.0 : 0.0, 1});
  }
  if (!out[1].reason.empty()) out[1].units.clear();
}

/// Why a trace is not one of these prompts, or empty.
std::string misfit(const Lines& lines, const CellTrace& trace, const std::string& taught) {
  for (std::size_t p = 0; p < lines.size(); ++p) {
    const bool there =
        p < trace.prompts.size() && trace.prompts[p].tokens_digest == lines[p].tokens_digest;
    if (!there) return "prompt " + lines[p].id + " is not in the trace at its place";
    const auto rows = std::int64_t(trace.prompts[p].tokens.size());
    if (taught == "continuation" && rows != lines[p].continuation) {
      return "prompt " + lines[p].id + " has " + std::to_string(rows) +
             " rows, its continuation has " + std::to_string(lines[p].continuation) + " tokens";
    }
  }
  if (lines.size() == trace.prompts.size()) return "";
  return "the trace has " + std::to_string(trace.prompts.size()) + " prompts, not " +
         std::to_string(lines.size());
}

}  // namespace

std::vector<ScoreOutcomes> evaluate(const ScoreSpec& spec, const Lines& lines,
                                    const CellTrace& trace, const std::string& taught) {
  std::vector<ScoreOutcomes> out = values_of(spec.kind);
  if (const std::string why = misfit(lines, trace, taught); !why.empty()) {
    refuse(out, why, true);
    return out;
  }
  if (spec.kind == ScoreKind::likelihood) add_likelihoods(lines, trace, taught, out);
  if (spec.kind == ScoreKind::choice) add_choices(lines, trace, taught, out);
  if (!spec.needs_log_p()) {
    for (std::size_t p = 0; p < lines.size(); ++p) {
      if (!has_what_it_needs(spec.kind, lines[p])) continue;
      const std::string reply = reply_of(trace.prompts[p]);
      if (spec.kind == ScoreKind::ifeval) add_instructions(lines[p], reply, out);
      if (spec.kind != ScoreKind::ifeval) add_reply(spec, lines[p], reply, out);
    }
  }
  for (ScoreOutcomes& one : out) {
    if (one.reason.empty() && one.units.empty()) one.reason = what_it_needs(spec.kind);
  }
  return out;
}

ScoreValue value_of(const ScoreOutcomes& outcomes) {
  const ScoreEntry& entry = *outcomes.entry;
  ScoreValue out;
  out.score = entry.score;
  out.value_name = entry.value;
  out.left_out = outcomes.left_out;
  out.reason = outcomes.reason;
  if (!out.reason.empty()) return out;
  double x = 0, w = 0;
  std::map<int, Outcome> lines;
  for (const Outcome& unit : outcomes.units) {
    x += unit.x, w += unit.w;
    Outcome& line = lines.emplace(unit.line, Outcome{unit.line, 0, 0}).first->second;
    line.x += unit.x, line.w += unit.w;
  }
  out.n = std::int64_t(w);
  if (entry.counts) out.right = std::int64_t(x);
  const double value = x / w;
  out.value = value;
  if (lines.size() > 1) {
    double squares = 0;
    for (const auto& [number, line] : lines) {
      const double off = line.x - value * line.w;
      squares += off * off;
    }
    const auto n = double(lines.size());
    out.error = std::sqrt(n / (n - 1) * squares) / w;
  }
  if (entry.value == std::string("perplexity")) {
    out.value = exp_(value);
    if (out.error) out.error = *out.error * *out.value;
  }
  return out;
}

bool can_score(ScoreKind kind, const Lines& lines) {
  return std::any_of(lines.begin(), lines.end(),
                     [&](const ScoreLine& line) { return has_what_it_needs(kind, line); });
}

const char* what_it_needs(ScoreKind kind) {
  switch (kind) {
    case ScoreKind::answer:
      return "no prompt has an answer";
    case ScoreKind::last_number:
      return "no prompt has a number for an answer";
    case ScoreKind::ifeval:
      return "no prompt has an instruction of IFEval that is judged";
    case ScoreKind::next_string:
      return "no prompt has an answer of one string";
    case ScoreKind::retrieval:
      return "no prompt has values";
    case ScoreKind::choice:
      return "no prompt has choices";
    case ScoreKind::likelihood:
      return "nothing was fed";
  }
  return "";
}

std::string not_judged_text(const Lines& lines) {
  std::map<std::string, std::int64_t> types;
  std::int64_t prompts = 0;
  for (const ScoreLine& line : lines) {
    bool all = true;
    for (const Instruction& one : line.instructions) {
      if (is_judged(one)) continue;
      const InstructionEntry* entry = find_instruction(one.type);
      const bool pattern = entry != nullptr && entry->judged;
      ++types[one.type + (pattern ? " with a pattern" : "")];
      all = false;
    }
    prompts += all ? 0 : 1;
  }
  std::string out;
  for (const auto& [type, count] : types) {
    out += (out.empty() ? "" : ", ") + type + " " + std::to_string(count);
  }
  return out.empty() ? out : out + "; of " + std::to_string(prompts) + " prompts";
}

}  // namespace isobit
