// What a prompt's line says beside the prompt: what continues it, and what its reply is scored by.
// Private to harness/scenario; called by prompts.cc.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "harness/scenario/prompts.h"

namespace isobit {

/// A list of token ids that is not empty; `what` names it.
Result<void> read_tokens(const nlohmann::json& list, const std::string& what,
                         const std::string& place, std::vector<std::int32_t>& out);

/// The keys continuation, choices, values, instruction_id_list and kwargs, and what `answer` is of
/// choices and values. Errors begin with `place`. `own`: a line
/// in this program's form, in which an unknown type of instruction is a mistake.
/// REQUIRES: the answer was read.
Result<void> read_given(const nlohmann::json& object, const std::string& place, bool own,
                        Prompt& prompt);

}  // namespace isobit
