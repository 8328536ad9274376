// Fuzzes values of axes, as a scalar or a map: no crash, and an accepted value's canonical text
// means the same value.
//
// Input: the axis on the first line; then a scalar, or lines "key=value" behind a line "map".
#include "harness/axes/axes.h"
#include "tests/fuzz/input.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace isobit;
  const std::string input = fuzz::text_of(data, size);
  std::string_view rest = input;
  const std::string axis = fuzz::take_part(rest, '\n');
  RawValue raw;
  raw.scalar = std::string(rest);
  if (rest.rfind("map\n", 0) == 0) {
    raw.scalar.clear();
    for (rest.remove_prefix(4); !rest.empty();) {
      const std::string line = fuzz::take_part(rest, '\n');
      const std::size_t equals = std::min(line.find('='), line.size());
      raw.pairs.emplace_back(line.substr(0, equals),
                             line.substr(std::min(equals + 1, line.size())));
    }
  }
  const auto pattern = axis_value(axis, raw, ValueUse::pattern);
  const auto value = axis_value(axis, raw, ValueUse::exact);
  (void)fuzz::accepted(pattern);
  if (!fuzz::accepted(value)) return 0;
  ISOBIT_CHECK(pattern.has_value());  // an exact value is a pattern too
  const auto again = axis_value(axis, value->text);
  ISOBIT_CHECK(again && again->text == value->text && again->head == value->head);
  ISOBIT_CHECK(again->args == value->args && again->setting.index() == value->setting.index());
  ISOBIT_CHECK(value_matches(*value, value->text) && value_matches(*value, pattern->text));
  ISOBIT_CHECK(is_usual(axis, *value) == (value->text == find_axis(axis)->usual));
  (void)find_axis(axis)->lossless(*value);
  (void)requested({{axis, *value}});
  return 0;
}
