// The table of types, and what strict and loose mean.
#include "harness/score/ifeval.h"

#include <algorithm>
#include <array>

#include "harness/score/ifeval_checks.h"

namespace isobit {
namespace {

/// Characters that a regular expression does not take as themselves.
bool is_pattern(const std::string& keyword) {
  return keyword.find_first_of(".^$*+?{}[]\\|()") != std::string::npos;
}

Text32 joined(const std::vector<Text32>& lines, std::size_t begin, std::size_t end) {
  Text32 out;
  for (std::size_t i = begin; i < end; ++i) out += (i == begin ? Text32() : U"\n") + lines[i];
  return strip(out);
}

std::array<Text32, 8> variants_of(const Text32& reply) {
  const std::vector<Text32> lines = split(reply, U"\n");
  const std::size_t n = lines.size();
  std::array<Text32, 8> out = {reply, joined(lines, 1, n), joined(lines, 0, n - 1),
                               joined(lines, 1, std::max(n, std::size_t{1}) - 1)};
  for (std::size_t i = 0; i < 4; ++i) {
    out[4 + i] = out[i];
    std::erase(out[4 + i], U'*');
  }
  return out;
}

bool check(const Instruction& instruction, const Text32& reply) {
  return !strip(reply).empty() && ifeval::check_of(instruction.type)(instruction, reply);
}

}  // namespace

const std::vector<InstructionEntry>& all_instructions() {
  constexpr bool kJudged = true, kNot = false;
  using enum ArgumentKind;
  static const std::vector<InstructionEntry> table = {
      {"keywords:existence", kJudged, {{"keywords", list}}},
      {"keywords:frequency",
       kJudged,
       {{"keyword", text}, {"frequency", number}, {"relation", relation}}},
      {"keywords:forbidden_words", kJudged, {{"forbidden_words", list}}},
      {"keywords:letter_frequency",
       kJudged,
       {{"letter", text}, {"let_frequency", number}, {"let_relation", relation}}},
      {"language:response_language", kNot, {{"language", text}}},
      {"length_constraints:number_sentences",
       kNot,
       {{"num_sentences", number}, {"relation", relation}}},
      {"length_constraints:number_paragraphs", kJudged, {{"num_paragraphs", number}}},
      {"length_constraints:number_words", kJudged, {{"num_words", number}, {"relation", relation}}},
      {"length_constraints:nth_paragraph_first_word",
       kJudged,
       {{"num_paragraphs", number}, {"nth_paragraph", number}, {"first_word", text}}},
      {"detectable_content:number_placeholders", kJudged, {{"num_placeholders", number}}},
      {"detectable_content:postscript", kJudged, {{"postscript_marker", text}}},
      {"detectable_format:number_bullet_lists", kJudged, {{"num_bullets", number}}},
      {"detectable_format:constrained_response", kJudged, {}},
      {"detectable_format:number_highlighted_sections", kJudged, {{"num_highlights", number}}},
      {"detectable_format:multiple_sections",
       kJudged,
       {{"section_spliter", text}, {"num_sections", number}}},
      {"detectable_format:json_format", kJudged, {}},
      {"detectable_format:title", kJudged, {}},
      {"combination:two_responses", kJudged, {}},
      {"combination:repeat_prompt", kJudged, {{"prompt_to_repeat", text}}},
      {"startend:end_checker", kJudged, {{"end_phrase", text}}},
      {"startend:quotation", kJudged, {}},
      {"change_case:capital_word_frequency",
       kNot,
       {{"capital_frequency", number}, {"capital_relation", relation}}},
      {"change_case:english_capital", kNot, {}},
      {"change_case:english_lowercase", kNot, {}},
      {"punctuation:no_comma", kJudged, {}}};
  return table;
}

const InstructionEntry* find_instruction(const std::string& type) {
  const auto& all = all_instructions();
  const auto at = std::find_if(all.begin(), all.end(),
                               [&](const InstructionEntry& entry) { return entry.type == type; });
  return at == all.end() ? nullptr : &*at;
}

std::vector<std::string> instruction_types() {
  std::vector<std::string> out;
  for (const InstructionEntry& entry : all_instructions()) out.emplace_back(entry.type);
  return out;
}

const std::vector<std::string>& relations() {
  static const std::vector<std::string> all = {"at least", "less than"};
  return all;
}

bool is_judged(const Instruction& instruction) {
  const InstructionEntry* entry = find_instruction(instruction.type);
  if (entry == nullptr || !entry->judged) return false;
  if (!instruction.type.starts_with("keywords:")) return true;
  const auto keyword = instruction.texts.find("keyword");
  if (keyword != instruction.texts.end() && is_pattern(keyword->second)) return false;
  return std::none_of(instruction.lists.begin(), instruction.lists.end(), [](const auto& list) {
    return std::any_of(list.second.begin(), list.second.end(), is_pattern);
  });
}

bool follows(const Instruction& instruction, const std::string& reply) {
  return check(instruction, code_points(reply));
}

bool follows_loosely(const Instruction& instruction, const std::string& reply) {
  const auto variants = variants_of(code_points(reply));
  return std::any_of(variants.begin(), variants.end(),
                     [&](const Text32& variant) { return check(instruction, variant); });
}

}  // namespace isobit
