// Tokenizers from tokenizer.json, tokenizer.model (SentencePiece) or GGUF: BPE over bytes or over
// characters, and Unigram, with the steps that the families' files have around them.
//
// Promise: the ids of Hugging Face `tokenizers` for the same file, and of llama.cpp for a GGUF file
// of SentencePiece, for any input bytes that are valid UTF-8; any other input bytes tokenize too
// (as bytes), they are never an error. Special (added) tokens are split out first, longest match
// first. Everything is a pure function of the files and the Unicode tables (kUnicodeVersion).
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/base/result.h"
#include "runtime/checkpoint/weights.h"

namespace isobit {

struct TokenizerSpec;  // what a file says (tokenizer/spec.h)

struct ChatMessage {
  std::string role;  // "system", "user", "assistant"
  std::string content;
};

class Tokenizer {
 public:
  /// `config_json` is the text of tokenizer_config.json (chat template, bos/eos), or empty.
  static Result<Tokenizer> from_json(const std::string& tokenizer_json,
                                     const std::string& config_json, const std::string& place);
  static Result<Tokenizer> from_gguf(const GgufTokenizer& gguf, const std::string& place);
  /// From whatever `model` holds. It may have more ids than the model's vocabulary: who encodes
  /// looks at the ids.
  static Result<Tokenizer> from_model(const LoadedModel& model);

  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  /// Ids of `text`. `add_special`: also what the file's post-processor adds (BOS, ...). Bytes that
  /// the vocabulary has no token for become the unknown token, or vanish when the file names none
  /// (SmolLM2 lacks six control characters and the lead bytes F1 and F2; describe() tells). After
  /// an interrupt (runtime/base/interrupt.h) the ids are not all: the caller looks.
  [[nodiscard]] std::vector<std::int32_t> encode(std::string_view text, bool add_special) const;
  /// Bytes of the tokens joined as a whole text; special tokens appear as their text. May end
  /// inside a UTF-8 sequence. Unknown ids give nothing. What a decoder strips from a text's begin
  /// (the space that SentencePiece puts there) is not in it.
  [[nodiscard]] std::string decode(std::span<const std::int32_t> ids) const;
  /// What one token adds to a text that goes on.
  [[nodiscard]] std::string token_bytes(std::int32_t id) const;
  /// The chat's text as the file's own template gives it, ending where the assistant answers. It
  /// has BOS in it where the template puts it, so encode it with add_special false. What the
  /// template uses and is not known is an error that names it.
  [[nodiscard]] Result<std::string> apply_chat(std::span<const ChatMessage> messages) const;

  [[nodiscard]] std::int64_t size() const;     // number of ids, added tokens included
  [[nodiscard]] std::int32_t bos() const;      // -1: none
  [[nodiscard]] std::int32_t eos() const;      // -1: none
  [[nodiscard]] bool adds_bos() const;         // encode(…, true) puts BOS first
  [[nodiscard]] std::string describe() const;  // one line for `model info`
  [[nodiscard]] std::string family() const;    // "byte-level BPE (llama-3)"
  /// Canonical bytes of everything that decides ids (vocabulary, merges, added tokens,
  /// pre-tokenizer, Unicode version); hashed into every recipe.
  [[nodiscard]] std::string fingerprint_text() const;

 private:
  struct Tables;
  static Result<Tokenizer> from_spec(TokenizerSpec&& spec, const std::string& place);
  explicit Tokenizer(std::unique_ptr<Tables> tables);
  std::unique_ptr<Tables> tables_;
};

/// Whether `model` holds something that from_model() can try to read.
bool has_tokenizer(const LoadedModel& model);

/// Version of the generated Unicode tables, e.g. "15.0.0".
extern const char* const kUnicodeVersion;

}  // namespace isobit
