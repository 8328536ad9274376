// Words that a person wrote: numbers and flags read strictly, and the nearest known word for a
// message about one that is not known (keys, axes, values, verbs). Pure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace isobit {

/// The nearest candidate within about a third of the word's length (one swap of neighbours counts
/// as one edit, case is ignored), or "" when nothing is near. Ties: the first in the list.
std::string nearest(const std::string& word, const std::vector<std::string>& candidates);

/// "; did you mean \"bf16\"?", or "; known: a, b, c" when nothing is near.
std::string did_you_mean(const std::string& word, const std::vector<std::string>& candidates);

/// The same with all candidates, for short lists: "; did you mean \"gpu\"? (known: gpu, nccl)".
std::string among_known(const std::string& word, const std::vector<std::string>& candidates);

/// The word in double quotes for a message: one printable line (text.h) of at most 60 characters.
std::string in_quotes(const std::string& word);

/// Whether a text holds no control character: nothing that a terminal obeys, and no second line.
bool is_one_line(const std::string& text);

/// A whole number in [low, high] and nothing else: no sign but '-', no space, and no zero before
/// other digits, which YAML, C and shells read as octal and people do not.
bool parse_integer(const std::string& text, std::int64_t low, std::int64_t high, std::int64_t& out);
/// What somebody likely meant by a text that parse_integer() refuses, for the end of a message:
/// "; write 10, or 8 if it is octal", "; write 1000". Empty: no whole number comes to mind.
std::string number_hint(const std::string& text);
/// true, yes, on and false, no, off, whatever the case.
bool parse_boolean(const std::string& text, bool& out);
/// Words as one printable line that a shell reads as the same words; $'…' where they are not
/// printable themselves.
std::string shell_line(const std::vector<std::string>& words);
/// ASCII letters in lower case.
std::string lower_case(std::string text);

}  // namespace isobit
