// expected_attention: when a prompt of more than B tokens has ended, a KV head keeps its first four
// positions and, of the others, those to which the queries of the next 512 positions are expected
// to give the most, weighted by the norm of V. What comes later is all kept, at its original
// position.

#include "runtime/cache/policies/keep_best.h"
#include "runtime/cache/policies/table.h"
#include "runtime/numerics/kv/expected.h"

namespace isobit {
namespace {

constexpr std::int64_t kSinks = 4, kFuture = 512;

class ExpectedAttentionPolicy final : public ChoosesOnce {
 public:
  using ChoosesOnce::ChoosesOnce;

  [[nodiscard]] bool reads_cache() const override { return true; }
  [[nodiscard]] std::int64_t future_positions() const override { return kFuture; }
  [[nodiscard]] bool observes_query(std::int64_t n, std::int64_t q) const override {
    return n > budget_ && q < n && q >= kSinks;
  }
  [[nodiscard]] std::int64_t query_state(const KvModel& model) const override {
    return moments_size(model.head_dim);
  }
  void observe_query(std::int64_t, std::int64_t, std::span<const double> query,
                     std::span<double> state) const override {
    add_query(query, state);
  }

  void score(const KvHead& head, std::span<double> scores) const override {
    const std::span<double> judged = scores.subspan(kSinks);
    const std::int64_t d = head.head_dim;
    QueryMoments moments(d, head.state, std::int64_t(judged.size()));
    moments.turn(head.cosine, head.sine, std::int64_t(head.cosine.size()) / kFuture);
    const auto row = [d](std::span<const double> all, std::size_t j) {
      return all.subspan((kSinks + j) * std::size_t(d), std::size_t(d));
    };
    std::vector<double> scratch;
    for (std::size_t j = 0; j < judged.size(); ++j) {
      judged[j] = moments.expected(row(head.keys, j), scratch);
    }
    softmax(judged);
    for (std::size_t j = 0; j < judged.size(); ++j) {
      judged[j] = judged[j] * norm_of(row(head.values, j));
    }
  }
  void select(const KvScores& scores, std::span<std::uint8_t> keep) const override {
    keep_best_by_head(scores, kSinks, scores.positions, budget_ - kSinks, keep);
  }
};

}  // namespace

PolicyResult parse_expected_attention(const OptionArgs& args) {
  auto budget = args.whole("", kSinks + 1, kLargestBudget, 0);
  ISOBIT_TRY(budget);
  return MadePolicy{std::make_shared<ExpectedAttentionPolicy>(*budget),
                    "expected_attention",
                    std::to_string(*budget),
                    {}};
}

}  // namespace isobit
