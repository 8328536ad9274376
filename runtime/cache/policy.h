// What is kept of keys and values between the write and the read: the seam of every lossy mode.
//
// The view rule, which each policy obeys: what query q sees of key j (exact, coded, absent) depends
// on q, j, the prompt's length n and values at positions up to q, and on nothing else. So a policy
// is asked with n and q alone; it never hears of steps, chunks, pages, slots, batches or ranks, and
// the store and the forward pass bring about what it answers. A policy is one file in policies/,
// its arithmetic one header in numerics/kv/, and a row in policies/table.h.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "runtime/base/result.h"
#include "runtime/cache/mode.h"
#include "runtime/numerics/kv/codec.h"

namespace isobit {

/// What a policy may know of the model that it will serve.
struct KvModel {
  std::int64_t layers = 0, heads = 0, kv_heads = 0, head_dim = 0;
};

/// What a query sees coded: keys below k, values below v; the others it sees exact.
struct CodedView {
  /// Coded at the write: every query sees every position coded, its own included.
  static constexpr std::int64_t kAll = std::numeric_limits<std::int64_t>::max();
  std::int64_t k = 0, v = 0;
  bool operator==(const CodedView&) const = default;
};

/// Pure functions of a policy's parameters; one object serves every rank and sequence at once.
class CachePolicy {
 public:
  virtual ~CachePolicy() = default;

  /// Why it cannot serve this model, or nothing.
  [[nodiscard]] virtual Result<void> check(const KvModel&) const { return {}; }
  /// It acts when the prompt has ended: prompt rows see everything exact, and no prefix of a prompt
  /// means the same for two prompts.
  [[nodiscard]] virtual bool waits_for_prompt() const { return true; }

  [[nodiscard]] virtual KvCodecKind key_codec() const { return KvCodecKind::none; }
  [[nodiscard]] virtual KvCodecKind value_codec() const { return KvCodecKind::none; }
  /// What query q of a prompt of n tokens sees coded: whole tiles of positions below q (or kAll),
  /// never less than query q - 1 does.
  [[nodiscard]] virtual CodedView coded(std::int64_t n, std::int64_t q) const {
    static_cast<void>(n), static_cast<void>(q);
    return {};
  }

  /// Whether select() follows row q.
  [[nodiscard]] virtual bool selects(std::int64_t n, std::int64_t q) const {
    static_cast<void>(n), static_cast<void>(q);
    return false;
  }
  /// After row q, for each layer: clears the mask of positions [0, q] that no later query may see.
  /// `weights`: what row q's heads gave each position, summed (NUMERICS.md, "tova").
  virtual void select(std::span<const double> weights, std::span<std::uint8_t> keep) const {
    static_cast<void>(weights), static_cast<void>(keep);
  }

  /// Whether query q sees anything but what it would see without a policy.
  [[nodiscard]] virtual bool acts(std::int64_t n, std::int64_t q) const {
    return coded(n, q) != CodedView{};
  }
};

/// A policy as a cell asks for it. No policy: everything is kept, exactly.
struct KvPolicySpec {
  std::string text = "exact";  // canonical: "q8_0", "kivi:2", "tova:64"
  std::shared_ptr<const CachePolicy> policy;
};

/// The policy of a canonical text; an error names the value and what is known.
Result<KvPolicySpec> parse_kv_policy(const std::string& text);
/// Why a policy cannot serve a model, or a cache mode, or nothing.
Result<void> check_kv_policy(const KvPolicySpec& spec, const KvModel& model);
Result<void> check_kv_policy(const KvPolicySpec& spec, const CacheMode& mode);
/// Names of every policy, and how a person writes them: "exact", "{kivi: 2|4}", …
std::vector<std::string> kv_policy_names();
std::vector<std::string> kv_policy_forms();

}  // namespace isobit
