// Instructions of IFEval (google-research instruction_following_eval): what each is given, and
// whether a reply follows it. Pure; written from the definitions, not from the code.
//
// Judged are the 20 of 25 types that need no language model, sentence splitter, word tokenizer or
// language detector; the other five are known and never judged. A keyword is looked for as it is:
// one with a character that means something in a regular expression is not judged either, because
// the original would take it for a pattern (ci/decisions/0012-scores-run-no-patterns.md).
#pragma once

#include <string>
#include <vector>

#include "harness/score/line.h"

namespace isobit {

enum class ArgumentKind : std::uint8_t { text, number, list, relation };

/// An argument as it stands in `kwargs`.
struct ArgumentEntry {
  const char* name;
  ArgumentKind kind;
};

struct InstructionEntry {
  const char* type;
  bool judged;
  std::vector<ArgumentEntry> arguments;  // all of them are required
};

/// In the order of the data set's table.
const std::vector<InstructionEntry>& all_instructions();
/// nullptr: there is no such type.
const InstructionEntry* find_instruction(const std::string& type);
std::vector<std::string> instruction_types();

/// "at least" and "less than": the only relations of the data set.
const std::vector<std::string>& relations();

bool is_judged(const Instruction& instruction);

/// Whether a reply follows an instruction; an empty reply follows none.
/// REQUIRES: is_judged(), with all its arguments.
bool follows(const Instruction& instruction, const std::string& reply);
/// Whether one of the eight variants of a reply does: as it is, without its first line, without
/// its last, without both, and these four without '*'.
bool follows_loosely(const Instruction& instruction, const std::string& reply);

}  // namespace isobit
