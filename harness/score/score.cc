// The table.
#include "harness/score/score.h"

#include <algorithm>

namespace isobit {
namespace {

constexpr const char* kHellaSwag = "HellaSwag, arXiv 1905.07830: acc and acc_norm of its harnesses";
constexpr const char* kIfeval = "IFEval, arXiv 2311.07911, section 2.2";

}  // namespace

const std::vector<ScoreEntry>& all_scores() {
  constexpr bool kShare = true, kLess = true, kFed = true;
  using enum ScoreKind;
  static const std::vector<ScoreEntry> table = {
      {answer, "answer", "exact", "share",
       "replies that are the answer: behind the last ####, else whole, trimmed / prompts with one",
       "scenarios/prompts/README.md"},
      {last_number, "last_number", "exact", "share",
       "replies whose last number is the gold's, commas dropped / prompts with a numeric answer",
       "GSM8K, arXiv 2110.14168, as evaluation harnesses read it"},
      {ifeval, "ifeval", "prompt_strict", "share",
       "prompts all of whose instructions are followed / prompts all of whose are judged", kIfeval},
      {ifeval, "ifeval", "prompt_loose", "share",
       "the same, followed by any of eight variants of the reply", kIfeval},
      {ifeval, "ifeval", "instruction_strict", "share",
       "instructions that are followed / instructions that are judged", kIfeval},
      {ifeval, "ifeval", "instruction_loose", "share",
       "the same, followed by any of eight variants of the reply", kIfeval},
      {next_string, "next_string", "exact", "share",
       "replies whose first string is the answer's / prompts with an answer of one string",
       "Shebel, Effect of KV Cache Error (2025): ten strings, the 10th withheld"},
      {next_string, "next_string", "relaxed", "share",
       "the same, without case and punctuation at the edges", "the same, relaxed"},
      {retrieval, "retrieval", "exact", "share",
       "replies in which the answer is the first of the list's values / prompts with values",
       "line retrieval, LongEval (LMSYS, 2023)"},
      {choice, "choice", "sum", "share",
       "lines whose right choice has the largest sum of log p / lines with choices", kHellaSwag,
       kShare, false, kFed},
      {choice, "choice", "per_byte", "share",
       "lines whose right choice has the largest sum of log p / bytes, / lines with choices",
       kHellaSwag, kShare, false, kFed},
      {likelihood, "likelihood", "nll", "nats/token", "sum -log p(fed token) / fed tokens",
       "negative log-likelihood", false, kLess, kFed},
      {likelihood, "likelihood", "perplexity", "1", "exp(nll)", "perplexity", false, kLess, kFed},
      {likelihood, "likelihood", "bits_per_byte", "bits/byte",
       "sum -log p(fed token) / (log 2 * bytes of the given text)", "bits per byte", false, kLess,
       kFed}};
  return table;
}

const ScoreEntry* find_score(const std::string& name) {
  for (const ScoreEntry& entry : all_scores()) {
    if (name == entry.score || name == std::string(entry.score) + "." + entry.value) return &entry;
  }
  return nullptr;
}

std::vector<std::string> score_names() {
  std::vector<std::string> out;
  for (const ScoreEntry& entry : all_scores()) {
    if (out.empty() || out.back() != entry.score) out.emplace_back(entry.score);
  }
  return out;
}

std::vector<std::string> score_value_names() {
  std::vector<std::string> out = score_names();
  for (const ScoreEntry& entry : all_scores()) {
    out.push_back(std::string(entry.score) + "." + entry.value);
  }
  return out;
}

const char* name_of(ScoreKind kind) {
  const auto at = std::find_if(all_scores().begin(), all_scores().end(),
                               [&](const ScoreEntry& entry) { return entry.kind == kind; });
  return at->score;
}

}  // namespace isobit
