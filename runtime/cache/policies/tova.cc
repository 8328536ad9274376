// tova: after the prompt, and after each generated token, a layer keeps the B keys to which the
// latest query gave the most weight, summed over all query heads. Positions stay the original ones.

#include <algorithm>

#include "runtime/cache/policies/keep_best.h"
#include "runtime/cache/policies/table.h"

namespace isobit {
namespace {

class TovaPolicy final : public ChoosesEachRow {
 public:
  using ChoosesEachRow::ChoosesEachRow;

  [[nodiscard]] bool observes(std::int64_t n, std::int64_t q) const override { return q + 1 >= n; }
  void observe(std::int64_t, std::int64_t, std::span<const double> weights,
               std::span<double> scores) const override {
    std::copy(weights.begin(), weights.end(), scores.begin());
  }

  void select(const KvScores& scores, std::span<std::uint8_t> keep) const override {
    if (scores.wide) {
      keep_best(summed<double>(scores), budget_, keep);
    } else {
      keep_best(summed<float>(scores), budget_, keep);
    }
  }

 private:
  /// The heads' weights in Real, ascending from +0.
  template <class T>
  static std::vector<double> summed(const KvScores& scores) {
    std::vector<T> sum(std::size_t(scores.positions), T(0));
    for (std::int64_t h = 0; h < scores.heads; ++h) {
      const std::span<const double> head = scores.of(h);
      for (std::size_t j = 0; j < sum.size(); ++j) sum[j] = sum[j] + T(head[j]);
    }
    return {sum.begin(), sum.end()};
  }
};

}  // namespace

PolicyResult parse_tova(const OptionArgs& args) {
  auto budget = args.whole("", 1, kLargestBudget, 0);
  ISOBIT_TRY(budget);
  return MadePolicy{std::make_shared<TovaPolicy>(*budget), "tova", std::to_string(*budget), {}};
}

}  // namespace isobit
