// Fuzzes the filter language (-k, where): no crash, an error has its place, and what is accepted is
// decided for a cell, its contrary by the contrary.
#include "harness/axes/axes.h"
#include "harness/matrix/matrix.h"
#include "harness/scenario/filter.h"
#include "tests/fuzz/input.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace isobit;
  const std::string text = fuzz::text_of(data, size);
  const auto filter = Filter::parse(text, "-k");
  if (!fuzz::accepted(filter)) {
    ISOBIT_CHECK(!filter.error().place.empty());
    return 0;
  }
  Cell cell;
  cell.scenario = "smoke";
  for (const Axis& axis : all_axes()) cell.axes[axis.name] = usual_value(axis.name);
  const bool matches = filter->matches(cell.subject());
  const auto contrary = Filter::parse("not (" + text + ")", "-k");
  // One level deeper, and some bytes longer, than what was just accepted.
  if (contrary) ISOBIT_CHECK(contrary->matches(cell.subject()) != matches);
  return 0;
}
