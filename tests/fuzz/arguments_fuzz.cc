// Fuzzes the command line: no crash, no exception, and what is accepted keeps to the verb's table.
//
// Input: the verb on the first line, then one word of the command line a line.
#include <algorithm>
#include <vector>

#include "harness/cli/cli.h"
#include "tests/fuzz/input.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace isobit;
  const std::string input = fuzz::text_of(data, size);
  std::string_view rest = input;
  const Verb* verb = find_verb(fuzz::take_part(rest, '\n'));
  if (verb == nullptr) return 0;
  std::vector<std::string> words;
  while (!rest.empty()) words.push_back(fuzz::take_part(rest, '\n'));
  const auto arguments = parse_arguments(*verb, words);
  if (!fuzz::accepted(arguments)) return 0;
  const std::vector<std::string>& known = verb->options;
  for (const auto& [name, values] : arguments->options) {
    ISOBIT_CHECK(name == "help" || std::find(known.begin(), known.end(), name) != known.end());
    ISOBIT_CHECK(!values.empty());
    (void)fuzz::accepted(arguments->number(name, 0, 1, 100));
    const auto seconds = parse_duration(arguments->text(name));
    if (fuzz::accepted(seconds)) ISOBIT_CHECK(*seconds >= 0);
  }
  if (arguments->has("help")) return 0;
  ISOBIT_CHECK(int(arguments->words.size()) >= verb->least);
  ISOBIT_CHECK(verb->most < 0 || int(arguments->words.size()) <= verb->most);
  return 0;
}
