// What a prompt's line gives beside the prompt, for one model: the tokens of answers and
// continuations, and the lines that scores read. Private to harness/execute.
#pragma once

#include "harness/execute/session.h"

namespace isobit {

/// Fills session.answers and session.continuations where some cell is fed them, and their digests.
/// Errors, with the line: a prompt has none, or more tokens than max_new_tokens.
/// REQUIRES: tokens and tokenizer are there.
Result<void> read_given_tokens(const Scenario& scenario, const std::vector<Prompt>& prompts,
                               ModelSession& session);

/// Fills session.lines. Errors: a score of the scenario has nothing to score in any line, choices
/// that no cell is fed, or goldens of choices, which share their prompt's tokens and so its block.
Result<void> read_score_lines(const Scenario& scenario, const std::vector<Prompt>& prompts,
                              ModelSession& session);

}  // namespace isobit
