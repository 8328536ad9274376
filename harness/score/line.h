// What a prompt's line says that scores read, as plain values; no file, no tokenizer.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "runtime/base/sha256.h"

namespace isobit {

/// One instruction of IFEval with its arguments, by their names in the data set.
struct Instruction {
  std::string type;  // "keywords:existence"
  std::map<std::string, std::string> texts;
  std::map<std::string, std::int64_t> numbers;
  std::map<std::string, std::vector<std::string>> lists;
};

/// Of one sequence of a cell: a prompt, or one choice of a line.
struct ScoreLine {
  std::string id;
  Sha256 tokens_digest{};           // of the prompt's tokens: which trace it belongs to
  std::int64_t continuation = 0;    // tokens that a cell with teacher_forced: continuation is fed
  std::string given;                // the text of these tokens; empty: there is none
  std::string answer;               // empty: none
  std::vector<std::string> values;  // of the list that the answer is one of; empty: no list
  std::vector<Instruction> instructions;
  int line = 0;     // number of its prompt line: the choices of a line have one
  int choice = -1;  // number of the choice, -1: no choice
  int right = -1;   // number of the line's right choice
};

}  // namespace isobit
