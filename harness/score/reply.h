// Whether a reply is what its prompt's line expects, by rules that need the texts alone. Pure.
//
// A reply is what was generated up to where another role speaks, "<|".
#pragma once

#include <string>
#include <vector>

#include "harness/score/score.h"
#include "harness/verdict.h"
#include "runtime/trace.h"

namespace isobit {

std::string reply_of(const PromptTrace& prompt);

/// What stands after the last "####" of a reply, else all of it; trimmed, it is the answer
/// (scenarios/prompts/README.md).
bool is_answer(const std::string& reply, const std::string& answer);

/// GSM8K: the last number of the reply is the gold, what stands after the last "####" of the answer
/// or all of it. Commas are dropped; numbers are equal as decimals (7, 7.0 and 007 are one).
bool is_last_number(const std::string& reply, const std::string& answer);
/// Whether an answer's gold is a number, so that last_number scores it.
bool has_gold_number(const std::string& answer);

/// The reply's first string, a run without white space, is the answer. `spec`: whether case, and
/// punctuation at the edges, count.
bool is_next_string(const std::string& reply, const std::string& answer, const ScoreSpec& spec);
/// Whether an answer is one string, so that next_string scores it.
bool is_one_string(const std::string& answer);

/// Of all the list's values that stand in the reply as whole words (no letter, digit or underscore
/// beside them), the answer begins first; of those that begin together the longest one counts.
bool is_retrieved(const std::string& reply, const std::string& answer,
                  const std::vector<std::string>& values, bool ignore_case);

/// Prompts of a trace that a rule scores, and those that are right; `kind` is answer or
/// last_number, which need what the trace itself holds.
Score score_of(const CellTrace& trace, ScoreKind kind = ScoreKind::answer);
/// Whether the rule scores a prompt, and whether the prompt's reply is right.
bool scores(ScoreKind kind, const PromptTrace& prompt);
bool is_right(ScoreKind kind, const PromptTrace& prompt);

}  // namespace isobit
