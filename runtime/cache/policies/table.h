// Every cache policy, one row each: its name, how it is written, its options, what it does to the
// cache, and who reads its arguments. Callers: runtime/cache/policy.cc, policies/chain.cc.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "runtime/base/option_text.h"
#include "runtime/cache/policy.h"

namespace isobit {

/// A policy and its canonical arguments: equal meanings have equal texts.
struct MadePolicy {
  std::shared_ptr<const CachePolicy> policy;
  std::string name, main;                                  // of its own pair; no main: a word
  std::map<std::string, std::string> options;              // but for those at their defaults
  std::optional<ResidualSpec> residual{};                  // instead of a policy
  std::shared_ptr<const ShippedScheme> shipped = nullptr;  // the same
};
using PolicyResult = Result<MadePolicy>;

// Errors say what is wrong with the arguments; the caller adds the value.
PolicyResult parse_bits(const OptionArgs& args);
PolicyResult parse_noise(const OptionArgs& args);
PolicyResult parse_lognormal(const OptionArgs& args);
PolicyResult parse_ggml(const OptionArgs& args);
PolicyResult parse_kivi(const OptionArgs& args);
PolicyResult parse_kvarn(const OptionArgs& args);
PolicyResult parse_rtn(const OptionArgs& args);
PolicyResult parse_window(const OptionArgs& args);
PolicyResult parse_streaming(const OptionArgs& args);
PolicyResult parse_h2o(const OptionArgs& args);
PolicyResult parse_snapkv(const OptionArgs& args);
PolicyResult parse_tova(const OptionArgs& args);
PolicyResult parse_knorm(const OptionArgs& args);
PolicyResult parse_expected_attention(const OptionArgs& args);
PolicyResult parse_residual(const OptionArgs& args);
PolicyResult parse_chain(const OptionArgs& args);
PolicyResult parse_quanto(const OptionArgs& args);
PolicyResult parse_hqq(const OptionArgs& args);
PolicyResult parse_kvarn_shipped(const OptionArgs& args);  // called by parse_kvarn() alone

/// What a policy does: a chain has at most one that codes and one that evicts.
enum class PolicyRole { codes, evicts, rebuilds, joins, ships };

struct PolicyRow {
  const char* name;
  const char* form;
  PolicyRole role;
  std::vector<std::string> options;
  PolicyResult (*parse)(const OptionArgs& args);
};
const std::vector<PolicyRow>& policy_rows();

/// A policy of a text, not yet in a spec; errors name no value. `role`: what it turned out to be.
PolicyResult make_policy(const std::string& text, PolicyRole* role);
/// "name:main+option:value+…".
std::string text_of(const MadePolicy& made);

}  // namespace isobit
