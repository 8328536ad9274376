// Axis seed: of the draws of sampling, one sample each. Each value is another text.
//
// At 0 the seed is that of the axis decode, so a scenario gives one of the two.
#include "harness/axes/parse.h"

namespace isobit {
namespace {

Result<AxisValue> parse(const RawValue& raw, ValueUse) {
  std::int64_t number = 0;
  if (!raw.pairs.empty() || !parse_integer(raw.scalar, 0, INT64_MAX, number)) {
    return axes::bad_value("seed", raw.scalar, "; a whole number from 0");
  }
  return axes::scalar_value(std::to_string(number), number);
}

void apply(const AxisValue& value, GenerateRequest& request) {
  const auto seed = std::uint64_t(std::get<std::int64_t>(value.setting));
  if (seed != 0) request.sampler.seed = seed;
}

}  // namespace

Axis seed_axis() {
  return {"seed",      "0",  "n, from 0; where decode samples", AxisKind::decoding, true, {}, parse,
          axes::never, apply};
}

}  // namespace isobit
