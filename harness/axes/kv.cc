// Axis kv: what happens to keys and values between the write and the read (runtime/cache/policy.h).
// Only `exact` and `residual`, which rebuilds what it does not keep, give the default's bits.
#include <algorithm>

#include "harness/axes/parse.h"
#include "runtime/base/option_text.h"
#include "runtime/base/words.h"

namespace isobit {
namespace {

Result<AxisValue> parse(const RawValue& raw, ValueUse use) {
  const std::string text = axes::text_of(raw);
  const std::vector<std::string> known = kv_policy_names();
  const auto is_known = [&](const std::string& name) { return axes::is_one_of(name, known); };
  const auto pairs = option_pairs(text);
  if (std::none_of(pairs.begin(), pairs.end(), [&](const auto& p) { return is_known(p.first); })) {
    return axes::bad_value("kv", pairs[0].first, did_you_mean(pairs[0].first, known));
  }
  auto spec = parse_kv_policy(text);
  if (!spec && is_known(text) && use == ValueUse::pattern) return axes::scalar_value(text, {});
  ISOBIT_TRY(spec);
  AxisValue value = axes::scalar_value(spec->text, *spec);
  // No pairs: a text selects its own cells alone, and an option may be called as a policy is. A
  // word is a text, not the name of its other forms.
  const auto own = option_pairs(spec->text)[0];
  value.head = own.second.empty() ? spec->text : own.first;
  return value;
}

bool lossless(const AxisValue& value) {
  const auto* spec = std::get_if<KvPolicySpec>(&value.setting);
  return spec != nullptr && (spec->exact() || spec->residual);
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
  return {"kv",     "exact", help(), AxisKind::computation, false, kv_policy_names(), parse,
          lossless, apply,   true};
}

}  // namespace isobit
