// Text as code points, with the classes that Python's `re` and `str` have: what rules of scores are
// written in. A byte that is no UTF-8 becomes U+FFFD. Private to harness/score.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace isobit {

using Text32 = std::u32string;

Text32 code_points(std::string_view utf8);

/// \s and str.isspace().
bool is_space(char32_t c);
/// \w: a letter, a number or '_'.
bool is_word(char32_t c);
/// Every code point in lower case by itself, as str.lower() but for the Greek final sigma.
Text32 lower(const Text32& text);
/// str.strip(): without white space at both ends.
Text32 strip(const Text32& text);
/// str.split(): the strings between white space.
std::vector<Text32> strings_of(const Text32& text);
/// str.split(separator). REQUIRES: the separator is not empty.
std::vector<Text32> split(const Text32& text, const Text32& separator);
bool starts_with(const Text32& text, const Text32& start);
bool ends_with(const Text32& text, const Text32& end);

/// Where `word` stands from `from` on; with `whole`, where \b stands at both ends of it. npos:
/// nowhere, and an empty word nowhere.
std::size_t find_word(const Text32& text, const Text32& word, std::size_t from, bool whole);
/// Where `value` stands first with no letter, digit or _ beside it, whatever its own ends are;
/// npos.
std::size_t find_apart(const Text32& text, const Text32& value);

}  // namespace isobit
