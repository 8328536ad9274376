// Policies by their text: the table of policies/ decides.

#include "runtime/cache/policy.h"

#include "runtime/base/words.h"
#include "runtime/cache/policies/table.h"

namespace isobit {

namespace {

Error refusal(const KvPolicySpec& spec, const std::string& why) {
  return {"kv " + spec.text + ": " + why, ""};
}

/// Whether anything but the write of a row changes what later rows see.
bool acts_after_rows(const CachePolicy& policy) {
  const std::int64_t late = std::int64_t(1) << 30;
  return policy.waits_for_prompt() || policy.selects(1, 0) ||
         policy.coded(1, 0) != policy.coded(1, late);
}

}  // namespace

std::vector<std::string> kv_policy_names() {
  std::vector<std::string> names{"exact"};
  for (const PolicyRow& row : kPolicies) names.emplace_back(row.name);
  return names;
}

std::vector<std::string> kv_policy_forms() {
  std::vector<std::string> forms{"exact"};
  for (const PolicyRow& row : kPolicies) forms.emplace_back(row.form);
  return forms;
}

Result<KvPolicySpec> parse_kv_policy(const std::string& text) {
  KvPolicySpec spec;
  if (text == spec.text) return spec;
  const std::size_t colon = text.find(':');
  const std::string name = text.substr(0, colon);
  for (const PolicyRow& row : kPolicies) {
    if (name != row.name) continue;
    const std::string argument = colon == std::string::npos ? "" : text.substr(colon + 1);
    auto policy = row.parse(argument);
    if (!policy) return Error{"bad kv " + in_quotes(text) + ": " + policy.error().message, ""};
    spec.text = argument.empty() ? name : name + ":" + argument;
    spec.policy = std::move(*policy);
    return spec;
  }
  std::string known;
  for (const std::string& form : kv_policy_forms()) known += (known.empty() ? "" : ", ") + form;
  return Error{"unknown kv " + in_quotes(text) + "; known: " + known, ""};
}

Result<void> check_kv_policy(const KvPolicySpec& spec, const KvModel& model) {
  if (spec.policy == nullptr) return {};
  if (auto ok = spec.policy->check(model); !ok) return refusal(spec, ok.error().message);
  return {};
}

Result<void> check_kv_policy(const KvPolicySpec& spec, const CacheMode& mode) {
  if (spec.policy == nullptr) return {};
  if (mode.shares_prefix && spec.policy->waits_for_prompt()) {
    return refusal(spec,
                   "it acts when the prompt has ended, so cache: prefix cannot share its store");
  }
  if (mode.drafts > 0 && acts_after_rows(*spec.policy)) {
    return refusal(spec,
                   "it acts after rows, and what it coded or evicted after a drafted row cannot be "
                   "taken back, so cache: speculative cannot verify drafts with it");
  }
  return {};
}

}  // namespace isobit
