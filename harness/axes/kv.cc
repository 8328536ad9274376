// Axis kv: what happens to keys and values between the write and the read (runtime/cache/policy.h).
// Only `exact` gives the default's bits.
#include <algorithm>

#include "harness/axes/parse.h"
#include "runtime/base/words.h"

namespace isobit {
namespace {

Result<AxisValue> parse(const RawValue& raw, ValueUse use) {
  const bool is_map = axes::is_map(raw);
  const axes::Pairs pairs = axes::pairs_of(raw);
  if (is_map && pairs.size() != 1) return Error{"a kv map has one key, e.g. {kivi: 2}", ""};
  const std::string name = is_map ? pairs[0].first : raw.scalar;
  const std::vector<std::string> known = kv_policy_names();
  if (std::find(known.begin(), known.end(), name) == known.end()) {
    return axes::bad_value("kv", name, did_you_mean(name, known));
  }
  auto spec = parse_kv_policy(is_map ? name + ":" + pairs[0].second : name);
  if (!spec && !is_map && use == ValueUse::pattern) return axes::scalar_value(name, {});
  ISOBIT_TRY(spec);
  if (!is_map) return axes::scalar_value(spec->text, *spec);
  return axes::map_value({{name, pairs[0].second}}, name, *spec);
}

bool lossless(const AxisValue& value) {
  return value.text == KvPolicySpec{}.text;
}

void apply(const AxisValue& value, GenerateRequest& request) {
  request.kv = std::get<KvPolicySpec>(value.setting);
}

std::string help() {
  std::string forms;
  for (const std::string& form : kv_policy_forms()) forms += (forms.empty() ? "" : " | ") + form;
  return forms;
}

}  // namespace

Axis kv_axis() {
  return {"kv",  "exact",  help(), AxisKind::computation, false, kv_policy_names(),
          parse, lossless, apply};
}

}  // namespace isobit
