// Character classes of Unicode kUnicodeVersion, and a UTF-8 reader that never fails.
//
// Promise: char_class gives what \p{L}, \p{N}, \p{M}, \s, \p{P}, \w … mean in the regular
// expressions of Hugging Face tokenizers; a byte that begins no valid UTF-8 sequence is a
// character of its own without any class. Called by the pre-tokenizers and the normaliser.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace isobit {

/// Bits of char_class. kDigitsNumber is the Digits pre-tokenizer's idea of a number (one Unicode
/// version ahead of the regular expressions'), kPunctuationStep the Punctuation pre-tokenizer's of
/// punctuation (that of Unicode 8, and ASCII's symbols).
enum CharClass : std::uint16_t {
  kLetter = 1,
  kNumber = 2,
  kMark = 4,
  kSpace = 8,
  kPunctuation = 16,
  kDigitsNumber = 32,
  kUpper = 64,  // \p{Lu} and \p{Lt}
  kLower = 128,
  kWord = 256,  // \w
  kPunctuationStep = 512,
};

inline constexpr std::uint32_t kClassBits = 10;  // of an entry
inline constexpr std::size_t kClassRunCount = 3408;
extern const std::uint32_t kClassRuns[kClassRunCount];

/// Tables of NFC, of Unicode kNfcUnicodeVersion: runs of one combining class, first code point << 8
/// | class; and canonical decompositions, composable << 63 | second << 42 | first << 21 | code.
inline constexpr std::size_t kCombiningRunCount = 496;
extern const std::uint32_t kCombiningRuns[kCombiningRunCount];
inline constexpr std::size_t kDecompositionCount = 2060;
extern const std::uint64_t kDecompositions[kDecompositionCount];
extern const char* const kNfcUnicodeVersion;

inline constexpr std::uint32_t kInvalidByte = 0xffffffff;

/// One character of a text. `code` is kInvalidByte when the byte is not part of valid UTF-8.
struct Char {
  std::uint32_t code = kInvalidByte;
  std::uint32_t bytes = 1;
  std::uint16_t classes = 0;  // CharClass bits
  [[nodiscard]] bool is(std::uint16_t bits) const { return (classes & bits) != 0; }
};

/// CharClass bits of a code point; 0 for anything that is none.
std::uint16_t char_class(std::uint32_t code);

/// The character at byte `at`. REQUIRES: at < text.size().
Char char_at(std::string_view text, std::size_t at);

/// Adds a code point, at most U+10FFFF, as UTF-8.
void append_utf8(std::uint32_t code, std::string& out);

}  // namespace isobit
