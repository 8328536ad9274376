// Implementation of runtime/tokenizer/normalize.h but for the tables of NFC (nfc.cc) and
// SentencePiece (charsmap.cc).
#include "runtime/tokenizer/normalize.h"

#include <algorithm>

#include "runtime/tokenizer/unicode_tables.h"

namespace isobit {
namespace {

constexpr std::string_view kMetaMark = "\xe2\x96\x81";  // ▁

std::string replaced(std::string_view text, std::string_view pattern, std::string_view content) {
  std::string out;
  for (std::size_t at = 0;;) {
    const std::size_t found = text.find(pattern, at);
    out += text.substr(at, found - at);
    if (found == std::string_view::npos) return out;
    out += content;
    at = found + pattern.size();
  }
}

std::string stripped(std::string_view text, bool left, bool right) {
  while (left && !text.empty()) {
    const Char c = char_at(text, 0);
    if (!c.is(kSpace)) break;
    text.remove_prefix(c.bytes);
  }
  while (right && !text.empty()) {
    std::size_t start = text.size() - 1;
    while (start > 0 && (static_cast<unsigned char>(text[start]) & 0xc0) == 0x80) --start;
    const Char c = char_at(text, start);
    if (!c.is(kSpace) || start + c.bytes != text.size()) break;
    text.remove_suffix(c.bytes);
  }
  return std::string(text);
}

std::string runs_replaced(std::string_view text, std::string_view content) {
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find_first_not_of(' ', at), text.size());
    if (end - at >= 2) {
      out += content;
    } else {
      out += text.substr(at, end - at);
    }
    at = std::min(text.find(' ', end), text.size());
    out += text.substr(end, at - end);
  }
  return out;
}

std::string without_outer_spaces(std::string_view text) {
  const std::size_t first = text.find_first_not_of(' ');
  if (first == std::string_view::npos) return "";
  return std::string(text.substr(first, text.find_last_not_of(' ') - first + 1));
}

bool is_ascii(std::string_view text) {
  for (const char c : text) {
    if (static_cast<unsigned char>(c) >= 0x80) return false;
  }
  return true;
}

}  // namespace

std::string normalized(const NormalStep& step, std::string_view text) {
  using Kind = NormalStep::Kind;
  switch (step.kind) {
    case Kind::nfc:
      return is_ascii(text) ? std::string(text) : normalize_nfc(text);
    case Kind::nfd:
      return is_ascii(text) ? std::string(text) : normalize_nfd(text);
    case Kind::replace:
      return replaced(text, step.pattern, step.content);
    case Kind::prepend:
      return text.empty() ? std::string() : step.content + std::string(text);
    case Kind::strip:
      return stripped(text, step.left, step.right);
    case Kind::charsmap:
      return step.charsmap->apply(text);
    case Kind::space_runs:
      return runs_replaced(text, step.content);
    case Kind::strip_spaces:
      return without_outer_spaces(text);
    case Kind::double_prefix:
      return (text.substr(0, kMetaMark.size()) == kMetaMark ? std::string(kMetaMark) : "") +
             std::string(text);
  }
  return std::string(text);
}

std::string text_of(const NormalStep& step) {
  static constexpr const char* kNames[] = {"nfc",     "nfd",        "replace",
                                           "prepend", "strip",      "charsmap",
                                           "runs",    "strip_ends", "double_prefix"};
  const auto sized = [](const std::string& text) {
    return " " + std::to_string(text.size()) + " " + text;
  };
  std::string out = kNames[static_cast<std::size_t>(step.kind)];
  out += sized(step.pattern) + sized(step.content);
  out += step.left ? " left" : "";
  out += step.right ? " right" : "";
  if (step.charsmap != nullptr) out += sized(step.charsmap->bytes());
  return out;
}

}  // namespace isobit
