// Prompt files: JSONL, one object a line (interface.md, "Prompts").
//
// `id` and one of text | messages | tokens; optional answer, continuation, choices, values and
// instructions. GSM8K (`question`, `answer`) and IFEval (`prompt`, `key`, `instruction_id_list`,
// `kwargs`) files are read as they are. Errors name file:line.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "harness/scenario/scenario.h"
#include "harness/score/line.h"
#include "runtime/base/result.h"

namespace isobit {

struct Prompt {
  std::string id;
  std::string text;                                           // kind text
  std::vector<std::pair<std::string, std::string>> messages;  // kind messages: (role, content)
  std::vector<std::int32_t> tokens;                           // kind tokens
  std::string answer;
  std::string continuation;                       // given text behind the prompt, or …
  std::vector<std::int32_t> continuation_tokens;  // … its tokens; both empty: none
  std::vector<std::string> choices;               // of which one continues the prompt, or …
  std::vector<std::vector<std::int32_t>> choice_tokens;  // … their tokens
  std::vector<std::string> values;                       // of a list, the answer among them
  std::vector<Instruction> instructions;
  int right = -1;     // number of the right choice
  int line = 0;       // number of its line among those selected: the choices of a line share it
  int choice = -1;    // which of them it is, once they are expanded
  std::string place;  // file:line
};

/// Applies skip and take (not pad_to, which needs tokens). Duplicate ids are errors; a file from
/// which nothing is selected is an error.
Result<std::vector<Prompt>> load_prompts(const std::string& path, const PromptSelection& selection);
Result<std::vector<Prompt>> parse_prompts(const std::string& jsonl, const std::string& path,
                                          const PromptSelection& selection);

/// A line with choices becomes one prompt a choice, `ID#0` …, whose continuation it is; the others
/// stay. Errors: two prompts have one id then.
Result<std::vector<Prompt>> expand_choices(const std::vector<Prompt>& prompts);

}  // namespace isobit
