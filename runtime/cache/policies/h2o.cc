// h2o: after the prompt, and after each generated token, a KV head keeps the latest ⌊B/2⌋ positions
// and, of the older ones it still has, those to which all queries so far gave the most weight.
// Positions stay the original ones.

#include <algorithm>

#include "runtime/cache/policies/keep_best.h"
#include "runtime/cache/policies/table.h"

namespace isobit {
namespace {

class H2oPolicy final : public ChoosesEachRow {
 public:
  using ChoosesEachRow::ChoosesEachRow;

  [[nodiscard]] bool selects_by_head() const override { return true; }
  [[nodiscard]] bool observes(std::int64_t, std::int64_t) const override { return true; }
  void observe(std::int64_t, std::int64_t, std::span<const double> weights,
               std::span<double> scores) const override {
    add_weights(weights, scores);
  }

  void select(const KvScores& scores, std::span<std::uint8_t> keep) const override {
    const std::int64_t recent = budget_ / 2;
    const std::int64_t older = std::max<std::int64_t>(0, scores.positions - recent);
    keep_best_by_head(scores, 0, older, budget_ - recent, keep);
  }
};

}  // namespace

PolicyResult parse_h2o(const OptionArgs& args) {
  auto budget = args.whole("", 1, kLargestBudget, 0);
  ISOBIT_TRY(budget);
  return MadePolicy{std::make_shared<H2oPolicy>(*budget), "h2o", std::to_string(*budget), {}};
}

}  // namespace isobit
