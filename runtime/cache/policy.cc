// Policies by their text: the table of policies/ decides.

#include "runtime/cache/policy.h"

#include <algorithm>

#include "runtime/base/words.h"
#include "runtime/cache/policies/table.h"
#include "runtime/cache/shipped.h"

namespace isobit {

namespace {

constexpr std::size_t kLongestText = 400;

Error refusal(const KvPolicySpec& spec, const std::string& why) {
  return {"kv " + spec.text + ": " + why, ""};
}

/// Whether anything but the write of a row changes what later rows see.
bool acts_after_rows(const CachePolicy& policy) {
  const std::int64_t late = std::int64_t(1) << 30;
  const KvPattern seen = policy.pattern(late);
  return policy.waits_for_prompt() || policy.selects(1, 0) || seen.first > 0 ||
         policy.coded(1, 0) != policy.coded(1, late);
}

const PolicyRow* row_named(const std::string& name) {
  for (const PolicyRow& row : policy_rows()) {
    if (name == row.name) return &row;
  }
  return nullptr;
}

bool has_option(const PolicyRow& row, const std::string& name) {
  return std::find(row.options.begin(), row.options.end(), name) != row.options.end();
}

std::string joined(const std::vector<std::string>& words) {
  std::string all;
  for (const std::string& word : words) all += (all.empty() ? "" : ", ") + word;
  return all;
}

/// The pairs of a text as a row's own one and its options.
Result<OptionArgs> args_of(const PolicyRow& row, const std::string& text) {
  OptionArgs args;
  args.name = row.name;
  bool own = false;
  for (const auto& [key, value] : option_pairs(text)) {
    if (key == row.name && !own) {
      own = true;
      args.main = value;
    } else if (!has_option(row, key)) {
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
  const std::vector<std::string> lognormal = {"seed", "of", "at", "layers"};
  const std::vector<std::string> rtn = {"per", "group", "rotate", "when"};
  const std::vector<std::string> kvarn = {"form", "group", "sink", "iterations"};
  const std::vector<std::string> stream = {"sinks", "positions"};
  const std::vector<std::string> snap = {"window", "kernel", "pool"};
  const std::vector<std::string> quantized = {"axis", "group", "residual"};
  static const std::vector<PolicyRow> rows = {
      {"bits", "{bits: n, round: nearest|down}", codes, bits, parse_bits},
      {"uniform", "{uniform: [from, to], seed: n}", codes, noise, parse_noise},
      {"normal", "{normal: [mean, deviation], seed: n}", codes, noise, parse_noise},
      {"lognormal", "{lognormal: deviation, seed: n}", codes, lognormal, parse_lognormal},
      {"q8_0", "q8_0", codes, {"rotate"}, parse_ggml},
      {"q4_0", "q4_0", codes, {"rotate"}, parse_ggml},
      {"q4_1", "q4_1", codes, {"rotate"}, parse_ggml},
      {"q5_0", "q5_0", codes, {"rotate"}, parse_ggml},
      {"q5_1", "q5_1", codes, {"rotate"}, parse_ggml},
      {"iq4_nl", "iq4_nl", codes, {"rotate"}, parse_ggml},
      {"ggml", "{ggml: type|{k: type, v: type}, rotate: false}", codes, {"rotate"}, parse_ggml},
      {"rtn", "{rtn: bits, per: token|channel, group: 32}", codes, rtn, parse_rtn},
      {"kivi", "{kivi: 2|4}", codes, {"when"}, parse_kivi},
      {"kvarn", "{kvarn: k4v2|k4v4|k2v2, form: paper|shipped, group: 128, sink: 128}", codes, kvarn,
       parse_kvarn},
      {"window", "{window: n}", evicts, {}, parse_window},
      {"streaming", "{streaming: n, sinks: 4, positions: original|in_cache}", evicts, stream,
       parse_streaming},
      {"h2o", "{h2o: n}", evicts, {}, parse_h2o},
      {"snapkv", "{snapkv: n, window: 32, kernel: 7, pool: max|avg}", evicts, snap, parse_snapkv},
      {"quanto", "{quanto: 2|4, axis: 0|-1, group: 64, residual: 128}", ships, quantized,
       parse_quanto},
      {"hqq", "{hqq: 2|4, axis: 0|1, group: 64, residual: 128}", ships, quantized, parse_hqq},
      {"tova", "{tova: n}", evicts, {}, parse_tova},
      {"knorm", "{knorm: n}", evicts, {}, parse_knorm},
      {"expected_attention", "{expected_attention: n}", evicts, {}, parse_expected_attention},
      {"residual",
       "{residual: every_layer|embedding|{every: k}, budget: n}",
       rebuilds,
       {"budget"},
       parse_residual},
      {"chain", "{chain: [one that evicts, one that codes]}", joins, {}, parse_chain},
  };
  return rows;
}

PolicyResult make_policy(const std::string& text, PolicyRole* role) {
  std::vector<const PolicyRow*> named;
  for (const auto& pair : option_pairs(text)) {
    const PolicyRow* found = row_named(pair.first);
    if (found != nullptr) named.push_back(found);
  }
  const PolicyRow* row = nullptr;
  for (const PolicyRow* one : named) {  // the others may be options of it: snapkv has a window
    const auto other = std::find_if(named.begin(), named.end(), [one](const PolicyRow* each) {
      return each != one && !has_option(*one, each->name);
    });
    if (other == named.end()) row = one;
  }
  if (row == nullptr && !named.empty()) {
    const auto other = std::find_if(named.begin(), named.end(),
                                    [&](const PolicyRow* each) { return each != named[0]; });
    return Error{std::string(named[0]->name) + " and " + (*other)->name +
                     " are two policies; {chain: […]} joins them",
                 ""};
  }
  if (row == nullptr) return Error{"known: " + joined(kv_policy_forms()), ""};
  if (text.size() > kLongestText) {
    return Error{"it has more than " + std::to_string(kLongestText) + " characters", ""};
  }
  auto args = args_of(*row, text);
  ISOBIT_TRY(args);
  auto made = row->parse(*args);
  if (made && role != nullptr) {
    *role = made->shipped != nullptr ? PolicyRole::ships : row->role;
  }
  return made;
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
  spec.residual = made->residual;
  spec.shipped = std::move(made->shipped);
  return spec;
}

Result<void> check_kv_policy(const KvPolicySpec& spec, const KvModel& model) {
  if (spec.residual) {
    if (auto ok = check_residual(*spec.residual, model.layers); !ok) {
      return refusal(spec, ok.error().message);
    }
  }
  Result<void> ok;
  if (spec.policy != nullptr) ok = spec.policy->check(model);
  if (spec.shipped != nullptr) ok = spec.shipped->check(model);
  if (!ok) return refusal(spec, ok.error().message);
  return {};
}

Result<void> check_kv_policy(const KvPolicySpec& spec, const CacheMode& mode, int ranks) {
  if (spec.residual) {
    if (auto ok = check_residual(*spec.residual, mode); !ok) {
      return refusal(spec, ok.error().message);
    }
  }
  if (spec.shipped != nullptr) {
    const std::string alone = "a cache as shipped depends on the steps before; ";
    if (mode.shares_prefix) return refusal(spec, alone + "cache: prefix is not for it");
    if (mode.recomputes) return refusal(spec, alone + "cache: recomputed is not for it");
    if (mode.drafts > 0) return refusal(spec, alone + "cache: speculative is not for it");
    if (ranks > 1) return refusal(spec, alone + "it has gpus: 1 only");
  }
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
