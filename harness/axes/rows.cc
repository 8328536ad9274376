// Axis rows: the rows of a launch, M of a product. Lossless: a row's bits do not depend on how many
// others are computed with it.
#include "harness/axes/parse.h"

namespace isobit {
namespace {

Result<AxisValue> parse(const RawValue& raw, ValueUse) {
  auto number = axes::count_value("rows", raw, kMostOperationRows);
  ISOBIT_TRY(number);
  return axes::scalar_value(std::to_string(*number), *number);
}

void apply(const AxisValue& value, GenerateRequest& request) {
  request.operation.rows = std::get<std::int64_t>(value.setting);
}

}  // namespace

Axis rows_axis() {
  return {"rows", "1", "n, from 1 to 65535", AxisKind::place, true, {}, parse, axes::always, apply};
}

}  // namespace isobit
