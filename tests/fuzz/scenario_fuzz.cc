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

#include "harness/filter.h"
#include "harness/matrix.h"
#include "harness/prompts.h"

namespace {

void fuzz_filter(const std::string& text) {
  const auto filter = invar::Filter::parse(text, "-k");
  if (!filter) {
    INVAR_CHECK(!filter.error().message.empty() && !filter.error().place.empty());
    return;
  }
  invar::Cell cell;
  for (const invar::AxisInfo& axis : invar::known_axes())
    cell.axes[axis.name] = {axis.default_text, {}};
  (void)filter->matches(cell.subject());
}

void fuzz_prompts(const std::string& text) {
  const auto prompts = invar::parse_prompts(text, "fuzz.jsonl", {});
  if (!prompts) {
    INVAR_CHECK(!prompts.error().message.empty() && !prompts.error().place.empty());
    return;
  }
  std::set<std::string> ids;
  for (const invar::Prompt& prompt : *prompts) {
    INVAR_CHECK(ids.insert(prompt.id).second);
    INVAR_CHECK(int{!prompt.text.empty()} + int{!prompt.messages.empty()} +
                    int{!prompt.tokens.empty()} ==
                1);
  }
}

/// Small enough to expand thousands of times.
bool is_small(const invar::Scenario& scenario) {
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
  const auto scenario = invar::parse_scenario(text, "fuzz.yaml", overrides);
  if (!scenario) {
    INVAR_CHECK(!scenario.error().message.empty() && !scenario.error().place.empty());
    return 0;
  }
  if (!is_small(*scenario)) return 0;
  const auto matrix = invar::expand(*scenario, false);
  if (!matrix) {
    INVAR_CHECK(!matrix.error().message.empty());
    return 0;
  }
  std::set<std::string> hashes, names;
  for (const invar::Cell& cell : matrix->cells) {
    INVAR_CHECK(hashes.insert(cell.hash).second && names.insert(cell.name()).second);
    INVAR_CHECK(!invar::class_axes(cell).empty());
  }
  const auto groups = invar::groups_of(*scenario, *matrix);
  (void)invar::joined(*scenario, groups);
  return 0;
}
