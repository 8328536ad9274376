// Byte-level BPE tokenizers (GPT-2, SmolLM, Llama-3 pre-tokenizers) from tokenizer.json or GGUF.
//
// Promise: the ids of Hugging Face `tokenizers` for the same file, for any input bytes that are
// valid UTF-8; any other input bytes tokenize too (as bytes), they are never an error.
// Special (added) tokens are split out first, longest match first. Everything is a pure function
// of the file and the Unicode tables, whose version is kUnicodeVersion.
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
  /// From whatever `model` holds; an error when its vocabulary does not fit the config.
  static Result<Tokenizer> from_model(const LoadedModel& model);

  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  /// Ids of `text`. `add_special`: also what the file's post-processor adds (BOS, ...). Bytes that
  /// the vocabulary has no token for become the unknown token, or vanish when the file names none
  /// (SmolLM2 lacks six control characters and the lead bytes F1 and F2; describe() tells). After
  /// an interrupt (runtime/base/interrupt.h) the ids are not all: the caller looks.
  [[nodiscard]] std::vector<std::int32_t> encode(std::string_view text, bool add_special) const;
  /// Bytes of the tokens joined; special tokens appear as their text. May end inside a UTF-8
  /// sequence. Unknown ids give nothing.
  [[nodiscard]] std::string decode(std::span<const std::int32_t> ids) const;
  /// The chat's text in the file's own format (ChatML, Llama-3, Mistral, the default model's),
  /// ending where the assistant answers. It has BOS in it where the template puts it, so encode it
  /// with add_special false. A template that is none of the known ones is an error that says so.
  [[nodiscard]] Result<std::string> apply_chat(std::span<const ChatMessage> messages) const;

  [[nodiscard]] std::int64_t size() const;     // number of ids, added tokens included
  [[nodiscard]] std::int32_t bos() const;      // -1: none
  [[nodiscard]] std::int32_t eos() const;      // -1: none
  [[nodiscard]] bool adds_bos() const;         // encode(…, true) puts BOS first
  [[nodiscard]] std::string describe() const;  // one line for `model info`
  /// Canonical bytes of everything that decides ids (vocabulary, merges, added tokens,
  /// pre-tokenizer, Unicode version); hashed into every recipe.
  [[nodiscard]] std::string fingerprint_text() const;

 private:
  struct Tables;
  static Result<Tokenizer> from_spec(TokenizerSpec&& spec, const std::string& place);
  explicit Tokenizer(std::unique_ptr<Tables> tables);
  std::unique_ptr<Tables> tables_;
};

/// Version of the generated Unicode tables, e.g. "15.0.0".
extern const char* const kUnicodeVersion;

}  // namespace isobit
