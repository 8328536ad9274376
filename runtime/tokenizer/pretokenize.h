// Pre-tokenizers: how a text is cut into the pieces that no model joins.
//
// Promise: the pieces of Hugging Face tokenizers for the same rule, on any valid UTF-8; other bytes
// are characters without a class. Hand-written matchers of the families' regular expressions over
// the generated Unicode tables. Called by the tokenizer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/tokenizer/added.h"

namespace isobit {

enum class SplitRule : std::uint8_t {
  gpt2,              // GPT-2's regular expression (ByteLevel with use_regex)
  llama3,            // Llama-3's
  qwen2,             // Qwen2's: Llama-3's with single digits
  gpt4o,             // GPT-4o's: words by case
  tekken,            // Mistral's: GPT-4o's without contractions, with single digits
  digits_each,       // Digits(individual_digits=True): every number character alone
  digits_runs,       // Digits(individual_digits=False)
  number_runs,       // \p{N}+ isolated          } these three only in
  digit_triples,     // [0-9][0-9][0-9] isolated } llama.cpp's "default"
  punctuation_runs,  // [\p{P}\$\+<=>\^~\|]+ isolated
  white_space,       // WhitespaceSplit: each white space
  words,             // Whitespace: \w+|[^\w\s]+
  punctuation,       // Punctuation: each mark
  literal,           // a text
  any_of,            // the longest of several texts
  prefix_space,      // ByteLevel's add_prefix_space: not a cut
  metaspace,         // ▁ for each space, and before the text
};

/// What becomes of what a rule finds.
enum class SplitBehavior : std::uint8_t {
  isolated,              // a piece of its own
  removed,               // nothing
  merged_with_previous,  // joins the piece before it, unless that is such a find too
  merged_with_next,      // joins the piece after it, likewise
  contiguous,            // finds side by side are one piece
};

struct PreStep {
  enum class Prefix : std::uint8_t { never, first, always };

  PreStep(SplitRule kind) : rule(kind) {}  // NOLINT: a rule alone is the usual step

  SplitRule rule;
  SplitBehavior behavior = SplitBehavior::isolated;
  bool invert = false;                      // what lies between the finds is found
  std::string text;                         // literal: what is looked for; metaspace: the ▁
  std::shared_ptr<const AddedTokens> list;  // any_of
  std::string list_text;                    // any_of: the texts, for the fingerprint
  Prefix prefix = Prefix::always;           // metaspace: which pieces get a ▁ at the front
  bool cut = true;                          // metaspace: each ▁ begins a piece
};

/// Name as in reports and in the fingerprint.
const char* name_of(SplitRule rule);
/// The step with all that it depends on; a rule's name alone where that says all.
std::string text_of(const PreStep& step);

/// The rule whose pattern is exactly `regex` (as tokenizer.json writes it), or nullptr.
const SplitRule* split_rule_of_regex(std::string_view regex);
/// Whether every character of a text is in some match of the rule.
bool covers_all(SplitRule rule);

struct Piece {
  std::string_view text;  // not empty
  bool first = false;     // the begin of the whole input
};

/// Cuts every piece by one step. Texts that the step makes new live in `made`.
void apply_step(const PreStep& step, std::vector<Piece>& pieces, std::deque<std::string>& made);

/// Appends the non-empty pieces of `text`, in order, matches isolated. REQUIRES: the rule is a
/// regular expression's.
void split(SplitRule rule, std::string_view text, std::vector<std::string_view>& pieces);

}  // namespace isobit
