// chain: one policy that evicts and one that codes, at once. What is chosen is chosen by the coded
// view's weights; what is evicted counts in its groups like the rest.

#include <algorithm>

#include "runtime/base/words.h"
#include "runtime/cache/policies/table.h"

namespace isobit {
namespace {

using Pointer = std::shared_ptr<const CachePolicy>;

class ChainPolicy final : public CachePolicy {
 public:
  ChainPolicy(Pointer evicts, Pointer codes)
      : evicts_(std::move(evicts)), codes_(std::move(codes)) {}

  [[nodiscard]] Result<void> check(const KvModel& model) const override {
    if (auto ok = evicts_->check(model); !ok) return ok;
    return codes_->check(model);
  }
  [[nodiscard]] bool waits_for_prompt() const override {
    return evicts_->waits_for_prompt() || codes_->waits_for_prompt();
  }
  [[nodiscard]] bool acts(const KvModel& model, std::int64_t n, std::int64_t q) const override {
    return evicts_->acts(model, n, q) || codes_->acts(model, n, q);
  }

  [[nodiscard]] KvChange change(const KvModel& model) const override {
    return codes_->change(model);
  }
  [[nodiscard]] bool changes(std::int64_t layer, bool keys) const override {
    return codes_->changes(layer, keys);
  }
  [[nodiscard]] bool changes_before_rope() const override { return codes_->changes_before_rope(); }
  [[nodiscard]] KvCodec key_codec(const KvModel& model) const override {
    return codes_->key_codec(model);
  }
  [[nodiscard]] KvCodec value_codec(const KvModel& model) const override {
    return codes_->value_codec(model);
  }
  [[nodiscard]] KvRotation rotation(const KvModel& model) const override {
    return codes_->rotation(model);
  }
  [[nodiscard]] bool turns_at_write() const override { return codes_->turns_at_write(); }
  [[nodiscard]] std::int64_t coded_from() const override { return codes_->coded_from(); }
  [[nodiscard]] CodedView coded(std::int64_t n, std::int64_t q) const override {
    return codes_->coded(n, q);
  }

  [[nodiscard]] KvPattern pattern(std::int64_t q) const override { return evicts_->pattern(q); }
  [[nodiscard]] bool selects(std::int64_t n, std::int64_t q) const override {
    return evicts_->selects(n, q);
  }
  [[nodiscard]] bool selects_by_head() const override { return evicts_->selects_by_head(); }
  [[nodiscard]] bool observes(std::int64_t n, std::int64_t q) const override {
    return evicts_->observes(n, q);
  }
  void observe(std::int64_t n, std::int64_t q, std::span<const double> weights,
               std::span<double> scores) const override {
    evicts_->observe(n, q, weights, scores);
  }
  [[nodiscard]] bool observes_query(std::int64_t n, std::int64_t q) const override {
    return evicts_->observes_query(n, q);
  }
  [[nodiscard]] std::int64_t query_state(const KvModel& model) const override {
    return evicts_->query_state(model);
  }
  void observe_query(std::int64_t n, std::int64_t q, std::span<const double> query,
                     std::span<double> state) const override {
    evicts_->observe_query(n, q, query, state);
  }
  [[nodiscard]] bool reads_cache() const override { return evicts_->reads_cache(); }
  [[nodiscard]] std::int64_t future_positions() const override {
    return evicts_->future_positions();
  }
  void score(const KvHead& head, std::span<double> scores) const override {
    evicts_->score(head, scores);
  }
  void select(const KvScores& scores, std::span<std::uint8_t> keep) const override {
    evicts_->select(scores, keep);
  }

 private:
  Pointer evicts_, codes_;
};

}  // namespace

PolicyResult parse_chain(const OptionArgs& args) {
  const bool canonical = args.main.find('>') != std::string::npos;
  MadePolicy evicts, codes;
  for (const std::string& member : cut_outside(args.main, canonical ? '>' : '/')) {
    PolicyRole role{};
    const std::string text = without_parentheses(member);
    const std::vector<std::string> known = kv_policy_names();
    const auto pairs = option_pairs(text);
    const bool any = std::any_of(pairs.begin(), pairs.end(), [&](const auto& pair) {
      return std::find(known.begin(), known.end(), pair.first) != known.end();
    });
    if (!any || text == "exact") {
      return Error{in_quotes(pairs[0].first) + " is no member of a chain" +
                       (any ? "" : did_you_mean(pairs[0].first, known)),
                   ""};
    }
    auto made = make_policy(text, &role);
    ISOBIT_TRY(made);
    if (role != PolicyRole::evicts && role != PolicyRole::codes) {
      return Error{made->name + " is no member of a chain", ""};
    }
    MadePolicy& place = role == PolicyRole::evicts ? evicts : codes;
    if (place.policy != nullptr) {
      return Error{"a chain has at most one that " +
                       std::string(role == PolicyRole::evicts ? "evicts" : "codes") + ", not " +
                       place.name + " and " + made->name,
                   ""};
    }
    place = std::move(*made);
  }
  if (evicts.policy == nullptr || codes.policy == nullptr) {
    return Error{"a chain has one that evicts and one that codes, e.g. [{tova: 128}, q8_0]", ""};
  }
  if (evicts.policy->positions_in_cache()) {
    return Error{"positions: in_cache keeps keys before RoPE, and nothing codes them there", ""};
  }
  const CodedView written = codes.policy->coded(1, 0);
  const bool by_groups = !codes.policy->waits_for_prompt() && written == CodedView{} &&
                         codes.policy->key_codec({}).codes();
  if (by_groups && evicts.policy->reads_cache()) {
    return Error{evicts.name +
                     " reads K and V when the prompt ends, when groups are coded in part: " +
                     codes.name + " needs when: prompt beside it",
                 ""};
  }
  const auto member = [](const MadePolicy& made) {
    const std::string text = text_of(made);
    return made.options.empty() ? text : "(" + text + ")";
  };
  return MadePolicy{std::make_shared<ChainPolicy>(evicts.policy, codes.policy),
                    "chain",
                    member(evicts) + ">" + member(codes),
                    {}};
}

}  // namespace isobit
