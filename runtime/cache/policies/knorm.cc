// knorm: when a prompt of more than B tokens has ended, a KV head keeps the B keys with the
// smallest norm. What comes later is all kept, at its original position.

#include "runtime/cache/policies/keep_best.h"
#include "runtime/cache/policies/table.h"
#include "runtime/numerics/kv/products.h"

namespace isobit {
namespace {

class KnormPolicy final : public ChoosesOnce {
 public:
  using ChoosesOnce::ChoosesOnce;

  [[nodiscard]] bool reads_cache() const override { return true; }

  void score(const KvHead& head, std::span<double> scores) const override {
    const auto d = std::size_t(head.head_dim);
    for (std::size_t j = 0; j < scores.size(); ++j) {
      scores[j] = -norm_of(head.keys.subspan(j * d, d));
    }
  }
  void select(const KvScores& scores, std::span<std::uint8_t> keep) const override {
    const auto n = std::size_t(scores.positions);
    for (std::int64_t kv = 0; kv < scores.kv_heads; ++kv) {
      // The query heads of a group have the same scores.
      const auto first = scores.of(kv * (scores.heads / scores.kv_heads));
      keep_best(first, budget_, keep.subspan(std::size_t(kv) * n, n));
    }
  }
};

}  // namespace

PolicyResult parse_knorm(const OptionArgs& args) {
  auto budget = args.whole("", 1, kLargestBudget, 0);
  ISOBIT_TRY(budget);
  return MadePolicy{std::make_shared<KnormPolicy>(*budget), "knorm", std::to_string(*budget), {}};
}

}  // namespace isobit
