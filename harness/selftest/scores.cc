// Defects of what a score reads: the log-probabilities of another prompt's text, and one choice
// less.
#include <algorithm>

#include "harness/selftest/defects.h"

namespace isobit::selftest {
namespace {

double nll_of(const PromptTrace& prompt) {
  double out = 0;
  for (const TokenRecord& token : prompt.tokens) out += token.log_sum - token.fed_logit;
  return out;
}

/// Every prompt of as many tokens is read as the least likely of them.
void read_another(CellTrace& trace) {
  const std::vector<PromptTrace> own = trace.prompts;
  for (PromptTrace& prompt : trace.prompts) {
    for (const PromptTrace& other : own) {
      if (other.tokens.size() != prompt.tokens.size() || nll_of(other) <= nll_of(prompt)) continue;
      for (std::size_t t = 0; t < prompt.tokens.size(); ++t) {
        prompt.tokens[t].log_sum = other.tokens[t].log_sum;
        prompt.tokens[t].fed_logit = other.tokens[t].fed_logit;
      }
    }
  }
}

}  // namespace

std::vector<Defect> score_defects() {
  std::vector<Defect> all;
  const auto add = [&](auto... words) -> Defect& { return add_defect(all, words...); };
  add("another-reply", "batch", "score", "scores", "batch=3", Verdict::diff, "score likelihood")
      .trace = [](const Cell& cell, CellTrace& trace) {
    if (cell.value("batch") == "3") read_another(trace);
  };
  add("dropped-choice", "batch", "score", "scores", "batch=3", Verdict::fail, "is not in the trace")
      .trace = [](const Cell& cell, CellTrace& trace) {
    if (cell.value("batch") == "3") trace.prompts.erase(trace.prompts.begin() + 2);
  };
  return all;
}

}  // namespace isobit::selftest
