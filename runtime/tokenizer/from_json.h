// The two halves of reading a Hugging Face tokenizer: tokenizer.json and tokenizer_config.json.
//
// Promise: as tokenizer/spec.h. Called by tokenizer/from_json.cc only.
#pragma once

#include <string>

#include "runtime/base/result.h"
#include "runtime/tokenizer/spec.h"

namespace isobit {

/// Adds what tokenizer_config.json says: BOS and EOS by name, the chat template. An empty text
/// says nothing. `place` is that of the tokenizer.json beside it.
Result<void> read_tokenizer_config(const std::string& config_json, const std::string& place,
                                   TokenizerSpec& spec);

}  // namespace isobit
