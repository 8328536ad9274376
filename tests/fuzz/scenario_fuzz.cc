// Fuzzes scenarios and their overrides: no crash, no error without text, and what is accepted
// expands into cells whose names and hashes are unique.
//
// Text behind the first line "--set" is an override.
#include <algorithm>
#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "harness/matrix/matrix.h"

namespace {

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
