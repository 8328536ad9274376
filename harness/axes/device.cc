// Axis device: cpu | cuda. Lossless: the same bits on both.
#include "harness/axes/parse.h"

namespace isobit {
namespace {

const axes::Words kDevices = {"cpu", "cuda"};

Result<AxisValue> parse(const RawValue& raw, ValueUse) {
  auto word = axes::closed_value("device", raw, kDevices);
  ISOBIT_TRY(word);
  return axes::scalar_value(*word, *word);
}

void apply(const AxisValue& value, GenerateRequest& request) {
  request.backend.device = std::get<std::string>(value.setting);
}

}  // namespace

Axis device_axis() {
  return {"device", "cpu",        "cpu | cuda", AxisKind::place, false, kDevices,
          parse,    axes::always, apply};
}

}  // namespace isobit
