// The tokens that end an answer, and which file each of them is from.
//
// Promise: the set at which the reference stops: transformers for config.json and
// generation_config.json, llama.cpp for GGUF. Called by the loaders.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "runtime/base/result.h"
#include "runtime/checkpoint/weights.h"
#include "runtime/model/config.h"

namespace isobit {

/// Adds one token; one that is there already keeps its origin. Ids below 0 are none.
void add_stop_token(ModelConfig& config, std::int64_t id, const std::string& origin);

/// Sets the stop set from a value of "eos_token_id": an id, a list of ids, or null. Ids that the
/// vocabulary lacks stay in it, where they match no token.
Result<void> set_stop_tokens(ModelConfig& config, const nlohmann::json& value,
                             const std::string& origin, const std::string& place);

/// generation_config.json, which alone decides when it is there. Gives whether the stop set is now
/// another than config.json's.
Result<bool> read_generation_config(const std::string& text, const std::string& place,
                                    ModelConfig& config);

/// eos_token_id, eot_token_id and eom_token_id of a GGUF file, and the control tokens whose name
/// says that they end an answer or a turn.
void set_stop_tokens(ModelConfig& config, const GgufTokenizer& tokenizer);

/// "2 (config.json), 14 (generation_config.json)", or "none".
std::string stop_set_text(const ModelConfig& config);

}  // namespace isobit
