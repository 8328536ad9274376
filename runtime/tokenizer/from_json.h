// What the files beside a tokenizer's own say: tokenizer_config.json, special_tokens_map.json,
// added_tokens.json, chat_template.jinja.
//
// Promise: the added tokens, their flags and ids, BOS, EOS and the chat template of transformers 5
// for the same files. Called by the readers of tokenizer.json and tokenizer.model only.
#pragma once

#include <string>
#include <vector>

#include "runtime/base/result.h"
#include "runtime/tokenizer/spec.h"

namespace isobit {

/// What a tokenizer's own file says of special tokens, where the files beside it do not.
struct SiblingDefaults {
  std::string bos, eos, unknown;  // texts, empty: none
  std::vector<AddedToken> extra;  // instead of additional_special_tokens
};

/// Adds to `spec`, which holds what the tokenizer's own file says. A text that is not there says
/// nothing. `place` is that of the tokenizer's file beside them.
Result<void> read_siblings(const TokenizerFiles& files, const std::string& place,
                           const SiblingDefaults& defaults, TokenizerSpec& spec);

}  // namespace isobit
