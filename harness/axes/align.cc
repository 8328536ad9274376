// Axis align: elements between the begin of an allocation and the first row in it, of operands and
// results. Lossless: an address is no number.
#include "harness/axes/parse.h"
#include "runtime/base/words.h"

namespace isobit {
namespace {

constexpr std::int64_t kMost = 1024;

Result<AxisValue> parse(const RawValue& raw, ValueUse) {
  std::int64_t number = 0;
  if (!raw.pairs.empty() || !parse_integer(raw.scalar, 0, kMost, number)) {
    return axes::bad_value("align", raw.pairs.empty() ? raw.scalar : raw.pairs[0].first + ": …",
                           "; a whole number from 0 to " + std::to_string(kMost));
  }
  return axes::scalar_value(std::to_string(number), number);
}

void apply(const AxisValue& value, GenerateRequest& request) {
  request.operation.align = std::get<std::int64_t>(value.setting);
}

}  // namespace

Axis align_axis() {
  return {"align", "0", "n, from 0 to 1024", AxisKind::place, true, {}, parse, axes::always, apply};
}

}  // namespace isobit
