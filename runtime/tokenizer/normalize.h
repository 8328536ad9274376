// Normalisation: what is done to the text between added tokens before it is cut into pieces.
//
// Promise: the text of Hugging Face tokenizers' normalizers of the same names, for valid UTF-8;
// bytes that are none stay where they are. Called by the tokenizer only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/base/result.h"

namespace isobit {

/// SentencePiece's table of replacements: a double array over the bytes of what is replaced, and
/// the texts that replace it.
class Charsmap {
 public:
  /// From the bytes as the files hold them. `place` is told in errors.
  static Result<Charsmap> read(std::string_view bytes, const std::string& place);
  /// Every grapheme of at most five bytes that begins with an entry becomes that entry's text, and
  /// so does every character of the other graphemes.
  [[nodiscard]] std::string apply(std::string_view text) const;
  [[nodiscard]] const std::string& bytes() const { return bytes_; }

 private:
  /// The replacement by the shortest entry that `chunk` begins with; nullptr when there is none.
  [[nodiscard]] const char* find(std::string_view chunk) const;

  std::string bytes_;
  std::vector<std::uint32_t> units_;
  std::string texts_;  // each ended by a zero byte, the last one too
};

struct NormalStep {
  enum class Kind : std::uint8_t {
    nfc,
    nfd,
    replace,        // every `pattern` becomes `content`
    prepend,        // `content` before a text that is not empty
    strip,          // white space, at the `left` and the `right`
    charsmap,       // SentencePiece's precompiled table
    space_runs,     // two spaces or more become `content`        } what SentencePiece's
    strip_spaces,   // spaces at both ends go                     } own settings become
    double_prefix,  // a text that begins with ▁ gets another one }
  };
  Kind kind = Kind::nfc;
  std::string pattern;
  std::string content;
  bool left = false;
  bool right = false;
  std::shared_ptr<const Charsmap> charsmap;
};

/// The text after one step.
std::string normalized(const NormalStep& step, std::string_view text);
/// The step with all that it depends on, for the fingerprint.
std::string text_of(const NormalStep& step);

/// NFC and NFD of `text`, by the tables of Unicode kNfcUnicodeVersion (Hugging Face tokenizers'
/// version). Bytes that are not valid UTF-8 stay and combine with nothing.
std::string normalize_nfc(std::string_view text);
std::string normalize_nfd(std::string_view text);

}  // namespace isobit
