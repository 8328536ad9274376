// Axis data: what operands are drawn from (runtime/run/operation_data.h). Each value is other
// numbers.
#include <algorithm>

#include "harness/axes/parse.h"

namespace isobit {
namespace {

const axes::Words kWords = {"random", "cancelling", "subnormal", "wide"};

Result<AxisValue> parse(const RawValue& raw, ValueUse) {
  auto word = axes::closed_value("data", raw, kWords);
  ISOBIT_TRY(word);
  const auto at = std::find(kWords.begin(), kWords.end(), *word) - kWords.begin();
  return axes::scalar_value(*word, static_cast<OperandData>(at));
}

void apply(const AxisValue& value, GenerateRequest& request) {
  request.operation.data = std::get<OperandData>(value.setting);
}

}  // namespace

Axis data_axis() {
  return {"data",
          kWords.front(),
          "random | cancelling | subnormal | wide",
          AxisKind::computation,
          false,
          kWords,
          parse,
          axes::never,
          apply};
}

}  // namespace isobit
