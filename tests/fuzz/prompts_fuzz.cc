// Fuzzes prompt files in their three forms (own, GSM8K, IFEval): no crash, an error has its place,
// a checker of IFEval that
// holds of a text holds loosely too, and every accepted prompt has an id of its own, one line long,
// and exactly one kind of content.
#include <set>

#include "harness/scenario/prompts.h"
#include "harness/score/ifeval.h"
#include "runtime/base/words.h"
#include "tests/fuzz/input.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace isobit;
  const std::string text = fuzz::text_of(data, size);
  const auto prompts = parse_prompts(text, "fuzz.jsonl", {});
  if (!fuzz::accepted(prompts)) {
    ISOBIT_CHECK(!prompts.error().place.empty());
    return 0;
  }
  std::set<std::string> ids;
  for (const Prompt& prompt : *prompts) {
    ISOBIT_CHECK(ids.insert(prompt.id).second && is_one_line(prompt.id) && !prompt.place.empty());
    const int kinds =
        int{!prompt.text.empty()} + int{!prompt.messages.empty()} + int{!prompt.tokens.empty()};
    ISOBIT_CHECK(kinds == 1);
  }
  if (const auto all = expand_choices(*prompts); fuzz::accepted(all)) {
    for (const Prompt& one : *all) {
      ISOBIT_CHECK(one.choices.empty() && one.choice_tokens.empty());
      for (const Instruction& instruction : one.instructions) {
        if (!is_judged(instruction)) continue;
        const bool strict = follows(instruction, one.text);
        ISOBIT_CHECK(!strict || follows_loosely(instruction, one.text));
      }
    }
  }
  PromptSelection selection;
  selection.skip = std::int64_t(prompts->size()) - 1;
  selection.take = 1;
  const auto last = parse_prompts(text, "fuzz.jsonl", selection);
  ISOBIT_CHECK(last && last->size() == 1 && last->front().id == prompts->back().id);
  return 0;
}
