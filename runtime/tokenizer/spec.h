// What a tokenizer file says, whichever format it has: the plain value between the readers of
// tokenizer.json, tokenizer.model and GGUF and the tokenizer itself.
//
// Promise: a spec that a reader returns is consistent: ids in range, merges resolved, contents not
// empty. Called by runtime/tokenizer only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "runtime/base/result.h"
#include "runtime/checkpoint/weights.h"
#include "runtime/tokenizer/added.h"
#include "runtime/tokenizer/bpe.h"
#include "runtime/tokenizer/normalize.h"
#include "runtime/tokenizer/pretokenize.h"

namespace isobit {

/// More ids than any published vocabulary; keeps a hostile file from asking for much memory.
inline constexpr std::int64_t kMaxTokenIds = std::int64_t{1} << 21;
/// Every step walks over every text: far more than published files have would only cost time.
inline constexpr std::size_t kMostSteps = 16;

/// How a piece of text becomes tokens.
enum class TokenModel : std::uint8_t {
  byte_bpe,       // merges by rank over bytes, the vocabulary in GPT-2's printable form
  char_bpe,       // merges by rank over characters (Llama-2's and Gemma's tokenizer.json)
  unigram,        // the best path by scores
  sentencepiece,  // merges by the score of what they give (GGUF "llama")
};

/// From the tokens' texts to the bytes that they stand for.
struct DecodeSteps {
  bool byte_level = true;                                    // undoes the printable form
  std::vector<std::pair<std::string, std::string>> replace;  // in each token, in order
  bool byte_fallback = false;                                // <0xNN> is a byte
  bool metaspace = false;                                    // a first token gives its ▁ up
  int strip_start = 0;                                       // spaces cut from the text's begin
  std::string between;                                       // two tokens (without any decoder)
};

struct TokenizerSpec {
  TokenModel model = TokenModel::byte_bpe;
  std::vector<std::string> tokens;  // by id, as the file writes them; empty: no such id
  std::vector<char> in_vocabulary;  // by id: text may become it by the model (1) or not (0)
  std::vector<double> scores;       // by id; unigram and sentencepiece only
  std::vector<BpeMerge> merges;     // by rank
  BpeOptions bpe;
  std::vector<AddedToken> added;
  std::vector<NormalStep> normal;  // one after the other, to the text between added tokens
  std::vector<PreStep> rules;      // one after the other, to the pieces of the one before
  DecodeSteps decode;
  std::vector<std::int32_t> prefix;  // what encode(…, true) puts around the text
  std::vector<std::int32_t> suffix;
  std::int32_t bos = -1;
  std::int32_t eos = -1;
  std::string bos_text;  // as the chat template sees them
  std::string eos_text;
  std::vector<std::pair<std::string, std::string>> named;  // "pad_token" and its text, and others
  std::string chat_template;
  std::string chat_origin;            // "chat_template.jinja"; empty: there is none
  std::string family;                 // "llama-3" and the like where the file tells, for people
  std::vector<std::string> siblings;  // files beside the tokenizer's own that told something
  std::vector<std::string> ignored;   // what a file says and encoding a prompt does not need
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
/// The byte of "<0xNN>", -1 when the token is none of these.
int byte_of_fallback(std::string_view token);

/// Adds a token as Hugging Face's add_tokens does: one whose text is a token already stays at its
/// id and gets these flags, another gets the next free id.
void add_token(TokenizerSpec& spec, AddedToken token);
/// The id of a text, -1 when no token has it.
std::int32_t id_of_token(const TokenizerSpec& spec, std::string_view text);

/// The texts of the files beside tokenizer.json, empty where there is none.
struct TokenizerFiles {
  std::string tokenizer_json, config_json;
  const std::map<std::string, std::string>* siblings = nullptr;  // name -> text
  /// The text of a sibling, nullptr when there is none.
  [[nodiscard]] const std::string* find(const std::string& name) const {
    if (siblings == nullptr) return nullptr;
    const auto found = siblings->find(name);
    return found == siblings->end() ? nullptr : &found->second;
  }
};

/// Reads tokenizer.json and the files beside it.
Result<TokenizerSpec> read_tokenizer_json(const TokenizerFiles& files, const std::string& place);
/// Reads tokenizer.model (SentencePiece's protobuf) and the files beside it, as transformers does.
Result<TokenizerSpec> read_sentencepiece(const std::string& file, const TokenizerFiles& files,
                                         const std::string& place);
/// Reads GGUF metadata: byte-level BPE ("gpt2") with known pre-tokenizers, SentencePiece ("llama").
Result<TokenizerSpec> read_tokenizer_gguf(const GgufTokenizer& gguf, const std::string& place);

}  // namespace isobit
