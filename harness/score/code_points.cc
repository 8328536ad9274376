// Decoding, classes, and what is found in code points.
#include "harness/score/code_points.h"

#include <algorithm>

#include "harness/score/lower_table.h"
#include "runtime/tokenizer/unicode_tables.h"

namespace isobit {
namespace {

constexpr char32_t kDottedI = 0x130;  // the one whose lower case is two code points
constexpr char32_t kDotAbove = 0x307;

char32_t lower_one(char32_t c) {
  if (c < 0x80) return c >= U'A' && c <= U'Z' ? c + 32 : c;
  for (const LowerRun& run : kLowerRuns) {  // runs interleave: a step of two fits into another
    if (run.first > c) break;
    if (c > run.last || (c - run.first) % run.step != 0) continue;
    return char32_t(std::int64_t(c) + run.delta);
  }
  return c;
}

/// Whether \b stands between two code points; `at` may be an end of the text.
bool is_boundary(const Text32& text, std::size_t at) {
  const bool before = at > 0 && is_word(text[at - 1]);
  const bool after = at < text.size() && is_word(text[at]);
  return before != after;
}

}  // namespace

Text32 code_points(std::string_view utf8) {
  Text32 out;
  out.reserve(utf8.size());
  for (std::size_t at = 0; at < utf8.size();) {
    const Char c = char_at(utf8, at);
    out.push_back(c.code == kInvalidByte ? char32_t(0xfffd) : char32_t(c.code));
    at += c.bytes;
  }
  return out;
}

bool is_space(char32_t c) {
  return (c >= 0x1c && c <= 0x1f) || (char_class(std::uint32_t(c)) & kSpace) != 0;
}

bool is_word(char32_t c) {
  return c == U'_' || (char_class(std::uint32_t(c)) & (kLetter | kNumber)) != 0;
}

Text32 lower(const Text32& text) {
  Text32 out;
  out.reserve(text.size());
  for (const char32_t c : text) {
    out.push_back(c == kDottedI ? U'i' : lower_one(c));
    if (c == kDottedI) out.push_back(kDotAbove);
  }
  return out;
}

Text32 strip(const Text32& text) {
  std::size_t begin = 0, end = text.size();
  while (begin < end && is_space(text[begin])) ++begin;
  while (end > begin && is_space(text[end - 1])) --end;
  return text.substr(begin, end - begin);
}

std::vector<Text32> strings_of(const Text32& text) {
  std::vector<Text32> out;
  for (std::size_t at = 0; at < text.size();) {
    std::size_t end = at;
    while (end < text.size() && !is_space(text[end])) ++end;
    if (end > at) out.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return out;
}

std::vector<Text32> split(const Text32& text, const Text32& separator) {
  std::vector<Text32> out;
  std::size_t begin = 0;
  while (true) {
    const std::size_t end = text.find(separator, begin);
    out.push_back(text.substr(begin, end == Text32::npos ? end : end - begin));
    if (end == Text32::npos) return out;
    begin = end + separator.size();
  }
}

bool starts_with(const Text32& text, const Text32& start) {
  return text.compare(0, start.size(), start) == 0;
}

bool ends_with(const Text32& text, const Text32& end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

std::size_t find_word(const Text32& text, const Text32& word, std::size_t from, bool whole) {
  if (word.empty()) return Text32::npos;
  for (std::size_t at = text.find(word, from); at != Text32::npos; at = text.find(word, at + 1)) {
    if (!whole || (is_boundary(text, at) && is_boundary(text, at + word.size()))) return at;
  }
  return Text32::npos;
}

std::size_t find_apart(const Text32& text, const Text32& value) {
  for (std::size_t at = 0;; ++at) {
    at = find_word(text, value, at, false);
    if (at == Text32::npos) return at;
    const std::size_t end = at + value.size();
    const bool beside =
        (at > 0 && is_word(text[at - 1])) || (end < text.size() && is_word(text[end]));
    if (!beside) return at;
  }
}

}  // namespace isobit
