// Axis replicas: data parallelism. The prompts are dealt to n replicas, each with weights, a
// batcher and a cache of its own, which run at the same time. Lossless: a sequence's bits do not
// depend on its company.
#include "harness/axes/parse.h"

namespace isobit {
namespace {

constexpr std::int64_t kMostReplicas = 64;

Result<AxisValue> parse(const RawValue& raw, ValueUse) {
  auto number = axes::count_value("replicas", raw, kMostReplicas);
  ISOBIT_TRY(number);
  return axes::scalar_value(std::to_string(*number), *number);
}

void apply(const AxisValue& value, GenerateRequest& request) {
  request.replicas = int(std::get<std::int64_t>(value.setting));
}

}  // namespace

Axis replicas_axis() {
  return {"replicas",   "1",  "n, from 1 to 64", AxisKind::place, true, {}, parse,
          axes::always, apply};
}

}  // namespace isobit
