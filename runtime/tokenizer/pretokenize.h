// Pre-tokenizers: how a text is cut into the pieces that byte-pair encoding never joins.
//
// Promise: the pieces of Hugging Face tokenizers for the same rule, on any valid UTF-8; other bytes
// are characters without a class. The pieces of a text joined are the text. Hand-written matchers
// of the families' regular expressions over the generated Unicode tables. Called by the tokenizer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace isobit {

enum class SplitRule : std::uint8_t {
  gpt2,              // GPT-2's regular expression (ByteLevel with use_regex)
  llama3,            // Llama-3's
  qwen2,             // Qwen2's: Llama-3's with single digits
  digits_each,       // Digits(individual_digits=True): every number character alone
  digits_runs,       // Digits(individual_digits=False)
  number_runs,       // \p{N}+ isolated          } these three only in
  digit_triples,     // [0-9][0-9][0-9] isolated } llama.cpp's "default"
  punctuation_runs,  // [\p{P}\$\+<=>\^~\|]+ isolated
  prefix_space,      // ByteLevel's add_prefix_space: not a cut, done by the tokenizer
};

/// Name as in reports and in the fingerprint.
const char* name_of(SplitRule rule);

/// The rule whose pattern is exactly `regex` (as tokenizer.json writes it), or nullptr.
const SplitRule* split_rule_of_regex(std::string_view regex);

/// Appends the non-empty pieces of `text`, in order. REQUIRES: rule is not prefix_space.
void split(SplitRule rule, std::string_view text, std::vector<std::string_view>& pieces);

}  // namespace isobit
