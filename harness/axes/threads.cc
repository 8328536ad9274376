// Axis threads: of one rank on a CPU. Lossless: what a thread takes changes no order.
#include "harness/axes/parse.h"

namespace isobit {
namespace {

constexpr std::int64_t kMostThreads = 1024;

Result<AxisValue> parse(const RawValue& raw, ValueUse) {
  auto number = axes::count_value("threads", raw, kMostThreads);
  ISOBIT_TRY(number);
  return axes::scalar_value(std::to_string(*number), *number);
}

void apply(const AxisValue& value, GenerateRequest& request) {
  request.backend.threads = int(std::get<std::int64_t>(value.setting));
}

}  // namespace

Axis threads_axis() {
  return {"threads",    "1",  "n, from 1 to 1024", AxisKind::place, true, {}, parse,
          axes::always, apply};
}

}  // namespace isobit
