// What a tokenizer file says, whichever format it has: the plain value between the readers of
// tokenizer.json and GGUF and the tokenizer itself.
//
// Promise: a spec that a reader returns is consistent: ids in range, merges resolved, contents not
// empty. Called by tokenizer*.cc only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "runtime/base/result.h"
#include "runtime/checkpoint/weights.h"
#include "runtime/tokenizer/added.h"
#include "runtime/tokenizer/bpe.h"
#include "runtime/tokenizer/pretokenize.h"

namespace isobit {

/// More ids than any published vocabulary; keeps a hostile file from asking for much memory.
inline constexpr std::int64_t kMaxTokenIds = std::int64_t{1} << 21;

struct TokenizerSpec {
  std::vector<std::string> tokens;  // by id, in byte-level (printable) form; empty: no such id
  std::vector<char> in_vocabulary;  // by id: text may become it by merging (1) or not (0)
  std::vector<BpeMerge> merges;     // by rank
  BpeOptions bpe;
  std::vector<AddedToken> added;
  std::vector<SplitRule> rules;  // applied one after the other, to the pieces of the one before
  bool nfc = false;
  std::vector<std::int32_t> prefix;  // what encode(…, true) puts around the text
  std::vector<std::int32_t> suffix;
  std::int32_t bos = -1;
  std::int32_t eos = -1;
  std::string bos_text;  // as the chat template sees them
  std::string eos_text;
  std::string chat_template;
};

/// Finds a std::string by any text, without making one.
struct TextHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view text) const noexcept {
    return std::hash<std::string_view>{}(text);
  }
};

/// Ids by printable form, of the vocabulary proper. It owns its keys: the list of tokens grows
/// while added tokens are read, and growing moves short texts.
using VocabularyIndex = std::unordered_map<std::string, std::int32_t, TextHash, std::equal_to<>>;

/// The merge of two printable tokens; an error names the one that the vocabulary lacks.
Result<BpeMerge> resolve_merge(const VocabularyIndex& index, std::string_view left,
                               std::string_view right, const std::string& place);

/// The printable form of a byte (GPT-2's table), as a code point below 0x144.
std::uint32_t printable_of_byte(std::uint8_t byte);
/// Bytes of a printable token; false when it has a character outside the table.
bool bytes_of_printable(std::string_view printable, std::string& bytes);

/// Reads tokenizer.json and tokenizer_config.json (which may be empty).
Result<TokenizerSpec> read_tokenizer_json(const std::string& tokenizer_json,
                                          const std::string& config_json, const std::string& place);
/// Reads GGUF metadata. Only byte-level BPE ("gpt2") with known pre-tokenizers.
Result<TokenizerSpec> read_tokenizer_gguf(const GgufTokenizer& gguf, const std::string& place);

/// NFC of `text`, by the tables of Unicode kNfcUnicodeVersion (Hugging Face tokenizers' version).
/// Bytes that are not valid UTF-8 stay and combine with nothing.
std::string normalize_nfc(std::string_view text);

}  // namespace isobit
