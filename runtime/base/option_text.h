// Texts of nested options ("a:b+c:(d:e)") in pieces, and the numbers of options. Pure.
// Callers: cache policies, schedules, and the axes that hold them.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "runtime/base/result.h"

namespace isobit {

/// A policy, a schedule or a change in pieces: its own pair, and its options by their names.
struct OptionArgs {
  std::string name, main;  // "rtn", "4"; main is empty for a word
  std::map<std::string, std::string> options;

  // Numbers of the main argument (`option` empty) or of an option; its default where it is not
  // given. Errors say what it may be.
  [[nodiscard]] Result<std::int64_t> whole(const std::string& option, std::int64_t low,
                                           std::int64_t high, std::int64_t usual) const;
  [[nodiscard]] Result<bool> flag(const std::string& option, bool usual) const;
  /// One of the words.
  [[nodiscard]] Result<std::string> word(const std::string& option,
                                         const std::vector<std::string>& words,
                                         const std::string& usual) const;

 private:
  [[nodiscard]] const std::string* find(const std::string& option) const;
  [[nodiscard]] std::string called(const std::string& option) const;
};

/// A text cut at a separator outside parentheses.
std::vector<std::string> cut_outside(const std::string& text, char separator);
/// "a:b+c:d" as pairs; a part without ':' has an empty second.
std::vector<std::pair<std::string, std::string>> option_pairs(const std::string& text);
/// A word of any bytes without separators of options: bytes other than letters, digits and
/// ".-_/:=@," as %2B; and back. In a list '/' is escaped too.
std::string escaped(const std::string& word);
std::string unescaped(const std::string& text);
/// Words as one text: each is escaped and has '/' before it. list_of() gives them back; it is empty
/// for a text that does not begin with '/'.
std::string list_text(const std::vector<std::string>& words);
std::vector<std::string> list_of(const std::string& text);
/// A text without the parentheses that enclose all of it.
std::string without_parentheses(const std::string& text);
/// The shortest decimals that read back as x; -0 as 0.
std::string shortest_decimals(double x);
/// A finite decimal number and nothing else.
bool parse_real(const std::string& text, double& out);

}  // namespace isobit
