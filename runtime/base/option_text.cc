// Texts of nested options in pieces.

#include "runtime/base/option_text.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>

#include "runtime/base/words.h"

namespace isobit {

const std::string* OptionArgs::find(const std::string& option) const {
  if (option.empty()) return &main;
  const auto at = options.find(option);
  return at == options.end() ? nullptr : &at->second;
}

std::string OptionArgs::called(const std::string& option) const {
  return option.empty() ? name : "option " + option + " of " + name;
}

Result<std::int64_t> OptionArgs::whole(const std::string& option, std::int64_t low,
                                       std::int64_t high, std::int64_t usual) const {
  const std::string* text = find(option);
  if (text == nullptr) return usual;
  std::int64_t n = 0;
  if (parse_integer(*text, low, high, n)) return n;
  return Error{called(option) + " is a whole number from " + std::to_string(low) + " to " +
                   std::to_string(high) + number_hint(*text),
               ""};
}

Result<bool> OptionArgs::flag(const std::string& option, bool usual) const {
  const std::string* text = find(option);
  if (text == nullptr) return usual;
  bool set = false;
  if (parse_boolean(*text, set)) return set;
  return Error{called(option) + " is true or false, not " + in_quotes(*text), ""};
}

Result<std::string> OptionArgs::word(const std::string& option,
                                     const std::vector<std::string>& words,
                                     const std::string& usual) const {
  const std::string* text = find(option);
  if (text == nullptr) return usual;
  if (std::find(words.begin(), words.end(), *text) != words.end()) return *text;
  return Error{called(option) + " cannot be " + in_quotes(*text) + among_known(*text, words), ""};
}

std::vector<std::string> cut_outside(const std::string& text, char separator) {
  std::vector<std::string> parts(1);
  int depth = 0;
  for (const char c : text) {
    depth += c == '(' ? 1 : c == ')' ? -1 : 0;
    if (c == separator && depth == 0) {
      parts.emplace_back();
    } else {
      parts.back() += c;
    }
  }
  return parts;
}

std::vector<std::pair<std::string, std::string>> option_pairs(const std::string& text) {
  std::vector<std::pair<std::string, std::string>> pairs;
  for (const std::string& part : cut_outside(text, '+')) {
    const std::size_t colon = std::min(part.find(':'), part.size());
    pairs.emplace_back(part.substr(0, colon), part.substr(std::min(colon + 1, part.size())));
  }
  return pairs;
}

namespace {

std::string with_escapes(const std::string& word, std::string_view plain) {
  std::string out;
  for (const char c : word) {
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    char code[4];
    std::snprintf(code, sizeof code, "%%%02X", unsigned(static_cast<unsigned char>(c)));
    out += letter || plain.find(c) != std::string_view::npos ? std::string(1, c) : code;
  }
  return out;
}

}  // namespace

std::string escaped(const std::string& word) {
  return with_escapes(word, ".-_/:=@,");
}

std::string unescaped(const std::string& text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    unsigned byte = 0;
    const char* const digits = text.data() + i + 1;
    const bool code = text[i] == '%' && i + 2 < text.size() &&
                      std::from_chars(digits, digits + 2, byte, 16).ptr == digits + 2;
    out += code ? char(byte) : text[i];
    if (code) i += 2;
  }
  return out;
}

std::string list_text(const std::vector<std::string>& words) {
  std::string out;
  for (const std::string& word : words) out += "/" + with_escapes(word, ".-_");
  return out;
}

std::vector<std::string> list_of(const std::string& text) {
  std::vector<std::string> words;
  for (std::size_t at = 0; text.starts_with('/') && at < text.size();) {
    const std::size_t end = std::min(text.find('/', at + 1), text.size());
    words.push_back(unescaped(text.substr(at + 1, end - at - 1)));
    at = end;
  }
  return words;
}

std::string without_parentheses(const std::string& text) {
  if (text.size() < 2 || text.front() != '(' || text.back() != ')') return text;
  int depth = 0;
  for (std::size_t i = 0; i + 1 < text.size(); ++i) {
    depth += text[i] == '(' ? 1 : text[i] == ')' ? -1 : 0;
    if (depth == 0) return text;
  }
  return text.substr(1, text.size() - 2);
}

std::string shortest_decimals(double x) {
  char buffer[32];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, x + 0.0);
  std::string text(buffer, end.ptr);
  std::erase(text, '+');  // "1e+05": a plus joins the pairs of a text
  return text;
}

bool parse_real(const std::string& text, double& out) {
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, out);
  return error == std::errc() && stop == end && std::isfinite(out);
}

}  // namespace isobit
