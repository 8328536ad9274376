// Policies by their text: the table of policies/ decides.

#include "runtime/cache/policy.h"

#include <algorithm>

#include "runtime/base/words.h"
#include "runtime/cache/policies/table.h"

namespace isobit {

namespace {

constexpr std::size_t kLongestText = 400;

Error refusal(const KvPolicySpec& spec, const std::string& why) {
  return {"kv " + spec.text + ": " + why, ""};
}

const PolicyRow* row_named(const std::string& name) {
  for (const PolicyRow& row : policy_rows()) {
    if (name == row.name) return &row;
  }
  return nullptr;
}

std::string joined(const std::vector<std::string>& words) {
  std::string all;
  for (const std::string& word : words) all += (all.empty() ? "" : ", ") + word;
  return all;
}

/// The pairs of a text as a row's own one and its options.
Result<PolicyArgs> args_of(const PolicyRow& row, const std::string& text) {
  PolicyArgs args;
  args.name = row.name;
  bool own = false;
  for (const auto& [key, value] : policy_pairs(text)) {
    if (key == row.name && !own) {
      own = true;
      args.main = value;
    } else if (std::find(row.options.begin(), row.options.end(), key) == row.options.end()) {
      const std::string known =
          row.options.empty() ? "; it has none" : among_known(key, row.options);
      return Error{"no option " + in_quotes(key) + " of " + row.name + known, ""};
    } else if (!args.options.emplace(key, value).second) {
      return Error{"option " + in_quotes(key) + " is given twice", ""};
    }
  }
  return args;
}

}  // namespace

const std::vector<PolicyRow>& policy_rows() {
  using enum PolicyRole;
  const std::vector<std::string> bits = {"round", "of", "at", "layers"};
  const std::vector<std::string> noise = {"seed", "keep_sign", "of", "at", "layers"};
  const std::vector<std::string> rtn = {"per", "group", "rotate", "when"};
  const std::vector<std::string> kvarn = {"form", "group", "sink", "iterations"};
  static const std::vector<PolicyRow> rows = {
      {"bits", "{bits: n, round: nearest|down}", codes, bits, parse_bits},
      {"uniform", "{uniform: [from, to], seed: n}", codes, noise, parse_noise},
      {"normal", "{normal: [mean, deviation], seed: n}", codes, noise, parse_noise},
      {"q8_0", "q8_0", codes, {"rotate"}, parse_ggml},
      {"q4_0", "q4_0", codes, {"rotate"}, parse_ggml},
      {"q4_1", "q4_1", codes, {"rotate"}, parse_ggml},
      {"q5_0", "q5_0", codes, {"rotate"}, parse_ggml},
      {"q5_1", "q5_1", codes, {"rotate"}, parse_ggml},
      {"iq4_nl", "iq4_nl", codes, {"rotate"}, parse_ggml},
      {"ggml", "{ggml: type|{k: type, v: type}, rotate: false}", codes, {"rotate"}, parse_ggml},
      {"rtn", "{rtn: bits, per: token|channel, group: 32}", codes, rtn, parse_rtn},
      {"kivi", "{kivi: 2|4}", codes, {"when"}, parse_kivi},
      {"kvarn", "{kvarn: k4v2|k4v4|k2v2}", codes, kvarn, parse_kvarn},
      {"tova", "{tova: n}", evicts, {}, parse_tova},
      {"chain", "{chain: [one that evicts, one that codes]}", joins, {}, parse_chain},
  };
  return rows;
}

PolicyResult make_policy(const std::string& text, PolicyRole* role) {
  const auto pairs = policy_pairs(text);
  const PolicyRow* row = nullptr;
  for (const auto& pair : pairs) {
    const PolicyRow* found = row_named(pair.first);
    if (found != nullptr && row != nullptr && found != row) {
      return Error{std::string(row->name) + " and " + found->name +
                       " are two policies; {chain: […]} joins them",
                   ""};
    }
    if (found != nullptr) row = found;
  }
  if (row == nullptr || text.size() > kLongestText) {
    return Error{"known: " + joined(kv_policy_forms()), ""};
  }
  auto args = args_of(*row, text);
  ISOBIT_TRY(args);
  if (role != nullptr) *role = row->role;
  return row->parse(*args);
}

std::string text_of(const MadePolicy& made) {
  std::string text = made.name + (made.main.empty() ? "" : ":" + made.main);
  for (const auto& [key, value] : made.options) text += "+" + key + ":" + value;
  return text;
}

std::vector<std::string> kv_policy_names() {
  std::vector<std::string> names{"exact"};
  for (const PolicyRow& row : policy_rows()) names.emplace_back(row.name);
  return names;
}

std::vector<std::string> kv_policy_forms() {
  std::vector<std::string> forms{"exact"};
  for (const PolicyRow& row : policy_rows()) forms.emplace_back(row.form);
  return forms;
}

Result<KvPolicySpec> parse_kv_policy(const std::string& text) {
  KvPolicySpec spec;
  if (text == spec.text) return spec;
  auto made = make_policy(text, nullptr);
  if (!made) {
    const bool known = made.error().message.rfind("known: ", 0) != 0;
    return Error{
        (known ? "bad kv " + in_quotes(text) + ": " : "unknown kv " + in_quotes(text) + "; ") +
            made.error().message,
        ""};
  }
  spec.text = text_of(*made);
  spec.policy = std::move(made->policy);
  return spec;
}

Result<void> check_kv_policy(const KvPolicySpec& spec, const KvModel& model) {
  if (spec.policy == nullptr) return {};
  if (auto ok = spec.policy->check(model); !ok) return refusal(spec, ok.error().message);
  return {};
}

Result<void> check_kv_policy(const KvPolicySpec& spec, const CacheMode& mode) {
  if (spec.policy == nullptr || !mode.shares_prefix || !spec.policy->waits_for_prompt()) return {};
  return refusal(spec,
                 "it acts when the prompt has ended, so cache: prefix cannot share its store");
}

}  // namespace isobit
