// Nearest word by optimal string alignment distance (insert, delete, replace, swap neighbours).
#include "runtime/base/words.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <string_view>

#include "runtime/base/text.h"

namespace isobit {
namespace {

std::size_t edits(const std::string& a, const std::string& b) {
  std::vector<std::size_t> before_last, last(b.size() + 1), row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) last[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t change = a[i - 1] == b[j - 1] ? 0 : 1;
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + change});
      const bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (swapped) row[j] = std::min(row[j], before_last[j - 2] + 1);
    }
    before_last = last;
    last = row;
  }
  return last[b.size()];
}

/// "010", "-007": a zero with more digits behind it.
bool pads_with_zeros(std::string_view text) {
  if (text.starts_with('-')) text.remove_prefix(1);
  return text.size() > 1 && text[0] == '0' && text[1] >= '0' && text[1] <= '9';
}

}  // namespace

std::string nearest(const std::string& word, const std::vector<std::string>& candidates) {
  constexpr std::size_t kLongestWord = 64;  // nobody mistypes a known word into more
  if (word.empty() || word.size() > kLongestWord) return "";
  const std::string wanted = lower_case(word);
  std::string best;
  std::size_t best_edits = std::max<std::size_t>(1, (word.size() + 1) / 3) + 1;
  for (const std::string& candidate : candidates) {
    const std::size_t distance = edits(wanted, lower_case(candidate));
    if (distance >= best_edits) continue;
    best_edits = distance;
    best = candidate;
  }
  return best;
}

namespace {

std::string comma_list(const std::vector<std::string>& words) {
  std::string out;
  for (const std::string& word : words) out += (out.empty() ? "" : ", ") + word;
  return out;
}

}  // namespace

std::string did_you_mean(const std::string& word, const std::vector<std::string>& candidates) {
  const std::string near = nearest(word, candidates);
  if (!near.empty()) return "; did you mean \"" + near + "\"?";
  return candidates.empty() ? "" : "; known: " + comma_list(candidates);
}

std::string among_known(const std::string& word, const std::vector<std::string>& candidates) {
  const std::string hint = did_you_mean(word, candidates);
  if (nearest(word, candidates).empty()) return hint;
  return hint + " (known: " + comma_list(candidates) + ")";
}

std::string in_quotes(const std::string& word) {
  constexpr std::size_t kLongest = 60;
  return '"' + text::printable(word, kLongest) + '"';
}

bool is_one_line(const std::string& text) {
  return std::none_of(text.begin(), text.end(),
                      [](unsigned char c) { return c < 0x20 || c == 0x7f; });
}

bool parse_integer(const std::string& text, std::int64_t low, std::int64_t high,
                   std::int64_t& out) {
  std::int64_t number = 0;
  if (pads_with_zeros(text)) return false;
  const char* end = text.data() + text.size();
  const auto [stop, code] = std::from_chars(text.data(), end, number);
  if (code != std::errc() || stop != end || number < low || number > high) return false;
  out = number;
  return true;
}

std::string number_hint(const std::string& text) {
  std::string digits;
  for (const char c : text) {
    if (c != '_' && c != ',' && c != ' ' && c != '+') digits += c;
  }
  const auto whole = [](std::string_view of, int base, std::int64_t& out) {
    const auto [stop, code] = std::from_chars(of.data(), of.data() + of.size(), out, base);
    return !of.empty() && code == std::errc() && stop == of.data() + of.size();
  };
  std::int64_t number = 0, octal = 0;
  const std::string_view all = digits;
  if (pads_with_zeros(digits) && whole(all, 10, number)) {
    const std::string decimal = "; write " + std::to_string(number);
    return whole(all, 8, octal) && octal != number
               ? decimal + ", or " + std::to_string(octal) + " if it is octal"
               : decimal;
  }
  const bool hex = all.starts_with("0x") || all.starts_with("0X");
  const bool other = hex || all.starts_with("0o") || all.starts_with("0O");
  if (other && whole(all.substr(2), hex ? 16 : 8, number)) {
    return "; write " + std::to_string(number);
  }
  double value = 0;
  const auto [stop, code] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  constexpr double kExact = 9007199254740992.0;  // 2^53: whole numbers up to here are exact
  const bool read = !digits.empty() && code == std::errc() && stop == digits.data() + digits.size();
  if (!read || !(std::fabs(value) <= kExact) || value != std::floor(value)) return "";
  const std::string plain = std::to_string(std::int64_t(value));
  return plain == text ? "" : "; write " + plain;
}

bool parse_boolean(const std::string& text, bool& out) {
  const std::string word = lower_case(text);
  out = word == "true" || word == "yes" || word == "on";
  return out || word == "false" || word == "no" || word == "off";
}

std::string lower_case(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

/// $'…' of bash, zsh and ksh: a word that a terminal would obey, as the same bytes and visible.
static std::string ansi_c_quoted(const std::string& word) {
  std::string out = "$'";
  for (const char c : word) {
    const auto byte = static_cast<unsigned char>(c);
    char escape[8];
    std::snprintf(escape, sizeof escape, "\\x%02x", unsigned(byte));
    if (byte < 0x20 || byte >= 0x7f) {
      out += escape;
    } else {
      out += c == '\'' || c == '\\' ? std::string("\\") + c : std::string(1, c);
    }
  }
  return out + "'";
}

std::string shell_line(const std::vector<std::string>& words) {
  static const std::string plain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=./:,@%";
  std::string line;
  for (const std::string& word : words) {
    if (!line.empty()) line += ' ';
    if (!word.empty() && word.find_first_not_of(plain) == std::string::npos) {
      line += word;
      continue;
    }
    if (!text::is_printable(word)) {
      line += ansi_c_quoted(word);
      continue;
    }
    line += '\'';
    for (const char c : word) line += c == '\'' ? std::string("'\\''") : std::string(1, c);
    line += '\'';
  }
  return line;
}

}  // namespace isobit
