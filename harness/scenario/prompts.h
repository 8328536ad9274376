// Prompt files: JSONL, one object a line (interface.md, "Prompts").
//
// `id` and one of text | messages | tokens; optional answer. GSM8K (`question`, `answer`) and
// IFEval (`prompt`, `key`) files are read as they are. Errors name file:line.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "harness/scenario/scenario.h"
#include "runtime/base/result.h"

namespace isobit {

struct Prompt {
  std::string id;
  std::string text;                                           // kind text
  std::vector<std::pair<std::string, std::string>> messages;  // kind messages: (role, content)
  std::vector<std::int32_t> tokens;                           // kind tokens
  std::string answer;
  std::string place;  // file:line
};

/// Applies skip and take (not pad_to, which needs tokens). Duplicate ids are errors; a file from
/// which nothing is selected is an error.
Result<std::vector<Prompt>> load_prompts(const std::string& path, const PromptSelection& selection);
Result<std::vector<Prompt>> parse_prompts(const std::string& jsonl, const std::string& path,
                                          const PromptSelection& selection);

}  // namespace isobit
