// What is kept of keys and values between the write and the read: the seam of every lossy mode.
//
// The view rule, which each policy obeys: what query q sees of key j (exact, coded, absent) depends
// on q, j, the prompt's length n and values at positions up to q, and on nothing else. So a policy
// is asked with n and q alone; it never hears of steps, chunks, pages, slots, batches or ranks, and
// the store and the forward pass bring about what it answers. A policy is one file in policies/,
// its arithmetic one header in numerics/kv/, and a row in policies/table.h.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "runtime/base/result.h"
#include "runtime/cache/mode.h"
#include "runtime/cache/residual.h"
#include "runtime/numerics/kv/change.h"
#include "runtime/numerics/kv/codec.h"

namespace isobit {

/// What a policy may know of the model that it will serve.
struct KvModel {
  std::int64_t layers = 0, heads = 0, kv_heads = 0, head_dim = 0;
  Format stored = Format::f32;   // R of K and V
  bool turns = true;             // some layer's keys turn with their position (RoPE)
  bool turns_by_length = false;  // and with the length of the sequence
  bool slides = false;           // some layer sees a window of positions only
};

/// What a query sees coded: keys below k, values below v, but for the policy's sinks; the others it
/// sees exact.
struct CodedView {
  /// Coded at the write: every query sees every position coded, its own included.
  static constexpr std::int64_t kAll = std::numeric_limits<std::int64_t>::max();
  std::int64_t k = 0, v = 0;
  bool operator==(const CodedView&) const = default;
};

/// Neighbouring channels that are rotated together before they are coded; 0: none are. Queries turn
/// as keys do, and what attention gives is turned back as values were.
struct KvRotation {
  std::int32_t k = 0, v = 0;
  [[nodiscard]] bool turns() const { return k > 0 || v > 0; }
};

/// Positions that a query sees: j < sinks, or j >= first.
struct KvPattern {
  std::int64_t sinks = 0, first = 0;
  [[nodiscard]] bool sees(std::int64_t j) const { return j < sinks || j >= first; }
  /// How many positions below `end` it sees.
  [[nodiscard]] std::int64_t count(std::int64_t end) const {
    return end <= first ? std::min(end, sinks) : end - std::max<std::int64_t>(0, first - sinks);
  }
};

/// One query head of one layer and sequence, when its keys are to be scored after row q.
struct KvHead {
  std::int64_t n = 0, q = 0, layer = 0;
  std::int64_t head_dim = 0;
  /// K and V that the head reads, (positions up to q, head_dim), if the policy reads them.
  std::span<const double> keys, values;
  std::span<const double> state;  // what observe_query() left
  /// RoPE of positions q + 1 and on, before rounding, (future_positions(), pairs of channels that
  /// turn): empty where nothing turns.
  std::span<const double> cosine, sine;
};

/// What the heads of a layer made of positions [0, positions), for select().
struct KvScores {
  std::int64_t n = 0, q = 0;
  std::int64_t heads = 0, kv_heads = 0, positions = 0;
  bool wide = false;               // Real is fp64
  std::span<const double> values;  // (heads, positions)
  [[nodiscard]] std::span<const double> of(std::int64_t head) const {
    return values.subspan(std::size_t(head * positions), std::size_t(positions));
  }
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
  /// Whether query q sees anything but what it would see without a policy.
  [[nodiscard]] virtual bool acts(const KvModel& model, std::int64_t n, std::int64_t q) const = 0;

  // What a value becomes at the write.

  /// The change of K and V as they are computed, or kind none.
  [[nodiscard]] virtual KvChange change(const KvModel&) const { return {}; }
  [[nodiscard]] virtual bool changes(std::int64_t layer, bool keys) const {
    static_cast<void>(layer), static_cast<void>(keys);
    return false;
  }
  /// Keys are changed before they are rotated by their position.
  [[nodiscard]] virtual bool changes_before_rope() const { return false; }

  // Codes.

  [[nodiscard]] virtual KvCodec key_codec(const KvModel&) const { return {}; }
  [[nodiscard]] virtual KvCodec value_codec(const KvModel&) const { return {}; }
  /// From the first query on that sees anything coded, exact rows are turned too, R applied; at
  /// their write if the policy does not wait for the prompt.
  [[nodiscard]] virtual KvRotation rotation(const KvModel&) const { return {}; }
  /// Rows are turned as they are written, not from the first coded view on: what codes does not
  /// wait for the prompt.
  [[nodiscard]] virtual bool turns_at_write() const { return !waits_for_prompt(); }
  /// Positions below are never coded: a multiple of the tiles' tokens.
  [[nodiscard]] virtual std::int64_t coded_from() const { return 0; }
  /// What query q of a prompt of n tokens sees coded: whole tiles of positions below q (or kAll),
  /// never less than query q - 1 does.
  [[nodiscard]] virtual CodedView coded(std::int64_t n, std::int64_t q) const {
    static_cast<void>(n), static_cast<void>(q);
    return {};
  }

  // What is evicted by position.

  /// What query q may see; never more of the positions up to q - 1 than query q - 1 saw.
  [[nodiscard]] virtual KvPattern pattern(std::int64_t q) const {
    static_cast<void>(q);
    return {};
  }

  /// Positions are counted in the cache: keys are kept before RoPE, and for each query its key and
  /// those that it sees turn by how many of them are before. Nothing is coded, changed or chosen.
  [[nodiscard]] virtual bool positions_in_cache() const { return false; }

  // What is evicted by choice. Everything is fp64 on the host, in one order.

  /// Whether select() follows row q.
  [[nodiscard]] virtual bool selects(std::int64_t n, std::int64_t q) const {
    static_cast<void>(n), static_cast<void>(q);
    return false;
  }
  /// A mask for each KV head; else a layer has one.
  [[nodiscard]] virtual bool selects_by_head() const { return false; }
  /// Whether observe() wants the attention weights of row q.
  [[nodiscard]] virtual bool observes(std::int64_t n, std::int64_t q) const {
    static_cast<void>(n), static_cast<void>(q);
    return false;
  }
  /// Rows come in ascending order. `weights`: what row q of one query head gave to positions
  /// [0, q]; `scores`: of these positions, kept from call to call, +0 at first.
  virtual void observe(std::int64_t n, std::int64_t q, std::span<const double> weights,
                       std::span<double> scores) const {
    static_cast<void>(n), static_cast<void>(q);
    static_cast<void>(weights), static_cast<void>(scores);
  }
  /// Whether observe_query() wants the query of row q before RoPE, and how much it keeps of them.
  [[nodiscard]] virtual bool observes_query(std::int64_t n, std::int64_t q) const {
    static_cast<void>(n), static_cast<void>(q);
    return false;
  }
  [[nodiscard]] virtual std::int64_t query_state(const KvModel&) const { return 0; }
  virtual void observe_query(std::int64_t n, std::int64_t q, std::span<const double> query,
                             std::span<double> state) const {
    static_cast<void>(n), static_cast<void>(q);
    static_cast<void>(query), static_cast<void>(state);
  }
  /// Whether score() reads keys and values.
  [[nodiscard]] virtual bool reads_cache() const { return false; }
  /// Of how many positions after q score() reads the RoPE.
  [[nodiscard]] virtual std::int64_t future_positions() const { return 0; }
  /// Before select(): the scores of one query head, after what observe() left in them.
  virtual void score(const KvHead& head, std::span<double> scores) const {
    static_cast<void>(head), static_cast<void>(scores);
  }
  /// After row q: clears the positions that no later query may see. `keep`: (KV heads, positions),
  /// or (1, positions) without selects_by_head().
  virtual void select(const KvScores& scores, std::span<std::uint8_t> keep) const {
    static_cast<void>(scores), static_cast<void>(keep);
  }
};

class ShippedScheme;  // shipped.h

/// A policy as a cell asks for it, or a cache as a package ships it. Neither: everything is kept,
/// exactly.
struct KvPolicySpec {
  std::string text = "exact";  // canonical: "q8_0", "kivi:2", "rtn:4+group:64+per:channel"
  std::shared_ptr<const CachePolicy> policy;
  std::shared_ptr<const ShippedScheme> shipped = nullptr;  // instead of a policy
  std::optional<ResidualSpec> residual;                    // instead of a policy; lossless

  [[nodiscard]] bool exact() const { return policy == nullptr && shipped == nullptr && !residual; }
};

/// The policy of a text like "rtn:4+per:channel": its own pair and its options, in any order; an
/// error names the value and what is known. Lists are joined by '/', nested maps stand in
/// parentheses, a chain's members are joined by '>': "uniform:-1/1", "ggml:(k:q8_0+v:q4_0)",
/// "chain:snapkv:128>q8_0".
Result<KvPolicySpec> parse_kv_policy(const std::string& text);
/// Why a policy cannot serve a model, or a cache mode and ranks, or nothing.
Result<void> check_kv_policy(const KvPolicySpec& spec, const KvModel& model);
Result<void> check_kv_policy(const KvPolicySpec& spec, const CacheMode& mode, int ranks = 1);
/// Names of every policy, and how a person writes them: "exact", "{kivi: 2|4}", …
std::vector<std::string> kv_policy_names();
std::vector<std::string> kv_policy_forms();

}  // namespace isobit
