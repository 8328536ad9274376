// Whether a reply is the answer that its prompt expects. Pure; texts only.
#pragma once

#include "harness/verdict.h"
#include "runtime/trace.h"

namespace isobit {

/// A reply ends where another role speaks; what counts is the text after its last "#### ", else all
/// of it (scenarios/prompts/README.md). A number may stand in a sentence.
/// REQUIRES: the prompt has an answer.
bool answers(const PromptTrace& prompt);

Score score_of(const CellTrace& trace);

}  // namespace isobit
