// Axis stride: elements between the end of a row and the next one, of operands and results.
// Lossless.
#include "harness/axes/parse.h"
#include "runtime/base/words.h"

namespace isobit {
namespace {

constexpr std::int64_t kMost = 65536;

Result<AxisValue> parse(const RawValue& raw, ValueUse) {
  std::int64_t number = 0;
  if (!raw.pairs.empty() || !parse_integer(raw.scalar, 0, kMost, number)) {
    return axes::bad_value("stride", raw.pairs.empty() ? raw.scalar : raw.pairs[0].first + ": …",
                           "; a whole number from 0 to " + std::to_string(kMost));
  }
  return axes::scalar_value(std::to_string(number), number);
}

void apply(const AxisValue& value, GenerateRequest& request) {
  request.operation.stride = std::get<std::int64_t>(value.setting);
}

}  // namespace

Axis stride_axis() {
  return {"stride",     "0",  "n, from 0 to 65536", AxisKind::place, true, {}, parse,
          axes::always, apply};
}

}  // namespace isobit
