// What `score` knows: how a reply, or the likelihood of a given text, becomes a number. Names,
// units, formulas and sources of all scores and their values in one table, for whoever reads
// scenarios, computes, reports and documents. Data only.
//
// Every value is a ratio of sums over units, sum x / sum w: a unit is a prompt, an instruction, a
// line of choices or a prompt's fed tokens. scenarios/SCHEMA.md, "Scores", is the document.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace isobit {

enum class ScoreKind : std::uint8_t {
  answer,
  last_number,
  ifeval,
  next_string,
  retrieval,
  choice,
  likelihood
};

/// One value of a score; the first of a score is the one that its bare name means.
struct ScoreEntry {
  ScoreKind kind;
  const char* score;    // in scenarios, reports and the database
  const char* value;    // of the score, the same
  const char* unit;     // of the value and its standard error
  const char* formula;  // for people, on one line
  const char* source;
  bool counts = true;  // a share of units that are right: McNemar's test has a meaning
  bool lower = false;  // less is better
  bool log_p = false;  // needs the log-probabilities of what was fed
};

/// In the order of documentation, the values of one score beside each other.
const std::vector<ScoreEntry>& all_scores();
/// By "ifeval" (its first value) or "ifeval.prompt_loose"; nullptr: there is none of this name.
const ScoreEntry* find_score(const std::string& name);
/// "answer", "last_number", …: each score once.
std::vector<std::string> score_names();
/// The same, and "ifeval.prompt_strict", …: what a rule may name.
std::vector<std::string> score_value_names();
const char* name_of(ScoreKind kind);

/// A score as a scenario asks for it.
struct ScoreSpec {
  ScoreKind kind = ScoreKind::answer;
  bool ignore_case = false;         // next_string, retrieval
  bool ignore_punctuation = false;  // next_string: at the edges of a string
  [[nodiscard]] bool needs_log_p() const {
    return kind == ScoreKind::choice || kind == ScoreKind::likelihood;
  }
};

}  // namespace isobit
