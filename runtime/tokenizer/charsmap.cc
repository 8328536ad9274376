// SentencePiece's precompiled table of replacements, as Hugging Face tokenizers applies it (a
// shortest entry wins, graphemes before characters), which differs from SentencePiece itself.
#include <cstring>

#include "runtime/tokenizer/normalize.h"
#include "runtime/tokenizer/unicode_tables.h"

namespace isobit {
namespace {

constexpr std::size_t kLongestGrapheme = 5;  // bytes of one that is looked up whole

std::uint32_t offset_of(std::uint32_t unit) {
  return (unit >> 10) << ((unit & (1U << 9)) >> 6);
}

/// Whether a character belongs to the grapheme of the one before it: marks, joiners and the few
/// letters that extend. Hangul, flags and emoji are longer than kLongestGrapheme either way.
bool extends(const Char& c) {
  return c.is(kMark) || c.code == 0x200c || c.code == 0x200d || c.code == 0xe33 ||
         c.code == 0xeb3 || c.code == 0xff9e || c.code == 0xff9f;
}

bool is_control(std::uint32_t code) {
  return code < 0x20 || (code >= 0x7f && code < 0xa0) || code == 0xad || code == 0x180e ||
         code == 0x200b || code == 0x200e || code == 0x200f || (code >= 0x2028 && code <= 0x202e) ||
         (code >= 0x2060 && code <= 0x206f) || code == 0xfeff || (code >= 0xfff0 && code <= 0xfffb);
}

/// End of the grapheme that begins at `at`.
std::size_t grapheme_end(std::string_view text, std::size_t at) {
  const Char first = char_at(text, at);
  std::size_t end = at + first.bytes;
  if (first.code == '\r' && end < text.size() && text[end] == '\n') return end + 1;
  if (first.code == kInvalidByte || is_control(first.code)) return end;
  while (end < text.size()) {
    const Char c = char_at(text, end);
    if (!extends(c)) break;
    end += c.bytes;
  }
  return end;
}

}  // namespace

Result<Charsmap> Charsmap::read(std::string_view bytes, const std::string& place) {
  Charsmap map;
  const auto number = [&](std::size_t at) {
    std::uint32_t value = 0;
    for (std::size_t i = 4; i-- > 0;) {
      value = value << 8 | static_cast<unsigned char>(bytes[at + i]);
    }
    return value;
  };
  if (bytes.size() < 4) {
    return Error{
        "a table of replacements has 4 bytes or more, found " + std::to_string(bytes.size()),
        place};
  }
  const std::size_t size = number(0);
  if (size % 4 != 0 || size > bytes.size() - 4 || size == 0) {
    return Error{"the table of replacements names " + std::to_string(size) +
                     " bytes of its tree; expected a multiple of 4, at most " +
                     std::to_string(bytes.size() - 4),
                 place};
  }
  map.units_.reserve(size / 4);
  for (std::size_t at = 4; at < 4 + size; at += 4) map.units_.push_back(number(at));
  map.texts_ = std::string(bytes.substr(4 + size)) + '\0';
  map.bytes_ = std::string(bytes);
  return map;
}

const char* Charsmap::find(std::string_view chunk) const {
  std::size_t node = offset_of(units_[0]);
  for (const char c : chunk) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte == 0) return nullptr;
    node ^= byte;
    if (node >= units_.size()) return nullptr;
    const std::uint32_t unit = units_[node];
    if ((unit & (1U << 31 | 0xffU)) != byte) return nullptr;
    node ^= offset_of(unit);
    if ((unit >> 8 & 1U) == 0) continue;
    const std::size_t text = node < units_.size() ? units_[node] & 0x7fffffffU : SIZE_MAX;
    return text < texts_.size() ? texts_.data() + text : nullptr;
  }
  return nullptr;
}

std::string Charsmap::apply(std::string_view text) const {
  std::string out;
  out.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = grapheme_end(text, at);
    if (end - at <= kLongestGrapheme) {
      if (const char* found = find(text.substr(at, end - at)); found != nullptr) {
        out += found;
        at = end;
        continue;
      }
    }
    while (at < end) {
      const std::string_view one = text.substr(at, char_at(text, at).bytes);
      const char* found = find(one);
      out += found != nullptr ? std::string_view(found) : one;
      at += one.size();
    }
  }
  return out;
}

}  // namespace isobit
