// snapkv: when a prompt of more than B tokens has ended, a KV head keeps its last `window`
// positions and, of those before, the ones near which the window's queries gave the most weight.
// What comes later is all kept, at its original position.

#include "runtime/cache/policies/keep_best.h"
#include "runtime/cache/policies/table.h"
#include "runtime/numerics/kv/pool.h"

namespace isobit {
namespace {

constexpr std::int64_t kWindow = 32, kKernel = 7;

class SnapKvPolicy final : public ChoosesOnce {
 public:
  SnapKvPolicy(std::int64_t budget, std::int64_t window, std::int64_t kernel, bool average)
      : ChoosesOnce(budget), window_(window), kernel_(kernel), average_(average) {}

  [[nodiscard]] bool observes(std::int64_t n, std::int64_t q) const override {
    return n > budget_ && q < n && q >= n - window_;
  }
  void observe(std::int64_t, std::int64_t, std::span<const double> weights,
               std::span<double> scores) const override {
    add_weights(weights, scores);
  }

  void score(const KvHead& head, std::span<double> scores) const override {
    const std::span<double> before = scores.first(std::size_t(head.n - window_));
    average_ ? average_pool(before, kernel_) : max_pool(before, kernel_);
  }
  void select(const KvScores& scores, std::span<std::uint8_t> keep) const override {
    keep_best_by_head(scores, 0, scores.n - window_, budget_ - window_, keep);
  }

 private:
  std::int64_t window_, kernel_;
  bool average_;
};

}  // namespace

PolicyResult parse_snapkv(const OptionArgs& args) {
  auto budget = args.whole("", 1, kLargestBudget, 0);
  ISOBIT_TRY(budget);
  auto window = args.whole("window", 1, kLargestBudget, kWindow);
  ISOBIT_TRY(window);
  auto kernel = args.whole("kernel", 1, kLargestBudget, kKernel);
  ISOBIT_TRY(kernel);
  auto pool = args.word("pool", {"max", "avg"}, "max");
  ISOBIT_TRY(pool);
  if (*budget <= *window) {
    return Error{"a budget of " + std::to_string(*budget) + " has no room besides a window of " +
                     std::to_string(*window),
                 ""};
  }
  if (*kernel % 2 == 0) {
    return Error{"a kernel has a middle; " + std::to_string(*kernel) + " is even", ""};
  }
  MadePolicy made{std::make_shared<SnapKvPolicy>(*budget, *window, *kernel, *pool == "avg"),
                  "snapkv",
                  std::to_string(*budget),
                  {}};
  if (*window != kWindow) made.options["window"] = std::to_string(*window);
  if (*kernel != kKernel) made.options["kernel"] = std::to_string(*kernel);
  if (*kernel != 1 && *pool != "max") made.options["pool"] = *pool;
  return made;
}

}  // namespace isobit
