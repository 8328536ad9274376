// "Did you mean …": the nearest of a list of known words. Pure; used by every message about a
// word that a person wrote (keys, axes, values, verbs).
#pragma once

#include <string>
#include <vector>

namespace isobit {

/// The nearest candidate within about a third of the word's length (one swap of neighbours counts
/// as one edit, case is ignored), or "" when nothing is near. Ties: the first in the list.
std::string nearest(const std::string& word, const std::vector<std::string>& candidates);

/// "; did you mean \"bf16\"?", or "; known: a, b, c" when nothing is near.
std::string did_you_mean(const std::string& word, const std::vector<std::string>& candidates);

/// The word in double quotes for a message: control characters escaped, at most 60 bytes.
std::string in_quotes(const std::string& word);

}  // namespace isobit
