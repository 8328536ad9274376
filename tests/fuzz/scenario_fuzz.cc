// Fuzzes scenarios, their overrides, the filter language and prompt files: no crash, no error
// without text, and what is accepted expands into cells whose names and hashes are unique.
//
// Text behind the first line "--set" is an override; a first line "-k" makes the rest a filter,
// "-p" a prompt file.
#include <algorithm>
#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "harness/matrix/matrix.h"
#include "harness/scenario/filter.h"
#include "harness/scenario/prompts.h"

namespace {

void fuzz_filter(const std::string& text) {
  const auto filter = isobit::Filter::parse(text, "-k");
  if (!filter) {
    ISOBIT_CHECK(!filter.error().message.empty() && !filter.error().place.empty());
    return;
  }
  isobit::Cell cell;
  for (const isobit::Axis& axis : isobit::all_axes())
    cell.axes[axis.name] = isobit::usual_value(axis.name);
  (void)filter->matches(cell.subject());
}

void fuzz_prompts(const std::string& text) {
  const auto prompts = isobit::parse_prompts(text, "fuzz.jsonl", {});
  if (!prompts) {
    ISOBIT_CHECK(!prompts.error().message.empty() && !prompts.error().place.empty());
    return;
  }
  std::set<std::string> ids;
  for (const isobit::Prompt& prompt : *prompts) {
    ISOBIT_CHECK(ids.insert(prompt.id).second);
    ISOBIT_CHECK(int{!prompt.text.empty()} + int{!prompt.messages.empty()} +
                     int{!prompt.tokens.empty()} ==
                 1);
  }
}

/// Small enough to expand thousands of times.
bool is_small(const isobit::Scenario& scenario) {
  std::size_t size = 1;
  for (const auto& axis : scenario.axes)
    size = std::min<std::size_t>(size * axis.second.size(), 9999);
  for (const auto& group : scenario.zip)
    size = std::min<std::size_t>(size * group.begin()->second.size(), 9999);
  for (const auto& entry : scenario.include)
    for (const auto& axis : entry) size = std::min<std::size_t>(size * axis.second.size(), 9999);
  return size <= 500;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string text(reinterpret_cast<const char*>(data), size);
  if (text.rfind("-k\n", 0) == 0) {
    fuzz_filter(text.substr(3));
    return 0;
  }
  if (text.rfind("-p\n", 0) == 0) {
    fuzz_prompts(text.substr(3));
    return 0;
  }
  std::vector<std::string> overrides;
  const std::size_t set = text.find("\n--set\n");
  if (set != std::string::npos) {
    overrides.push_back(text.substr(set + 7));
    text.resize(set + 1);
  }
  const auto scenario = isobit::parse_scenario(text, "fuzz.yaml", overrides);
  if (!scenario) {
    ISOBIT_CHECK(!scenario.error().message.empty() && !scenario.error().place.empty());
    return 0;
  }
  if (!is_small(*scenario)) return 0;
  const auto matrix = isobit::expand(*scenario, false);
  if (!matrix) {
    ISOBIT_CHECK(!matrix.error().message.empty());
    return 0;
  }
  std::set<std::string> hashes, names;
  for (const isobit::Cell& cell : matrix->cells) {
    ISOBIT_CHECK(hashes.insert(cell.hash).second && names.insert(cell.name()).second);
    ISOBIT_CHECK(!isobit::class_axes(cell).empty());
  }
  std::size_t placed = 0;
  for (const auto& part : isobit::united(isobit::groups_of(*scenario, *matrix), *matrix))
    placed += part.size();
  ISOBIT_CHECK(placed == matrix->cells.size());
  return 0;
}
