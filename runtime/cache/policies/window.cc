// window: a query sees the last B positions, its own included. streaming: the first few besides,
// the sinks, of B together. Both are masks in (q, j): prompt rows obey them as all others do.
// `positions: in_cache` counts a key's position, and the query's, among the keys that it sees.

#include <algorithm>

#include "runtime/cache/policies/keep_best.h"
#include "runtime/cache/policies/table.h"

namespace isobit {
namespace {

constexpr std::int64_t kSinks = 4;

class WindowPolicy final : public CachePolicy {
 public:
  WindowPolicy(std::int64_t budget, std::int64_t sinks, bool in_cache)
      : budget_(budget), sinks_(sinks), in_cache_(in_cache) {}

  [[nodiscard]] Result<void> check(const KvModel& model) const override {
    if (!in_cache_ || (model.turns && !model.turns_by_length)) return {};
    return Error{std::string("positions in the cache are those of RoPE, which this model ") +
                     (model.turns ? "turns by the length of a sequence too" : "does not have"),
                 ""};
  }

  [[nodiscard]] bool waits_for_prompt() const override { return false; }
  [[nodiscard]] bool acts(const KvModel&, std::int64_t, std::int64_t q) const override {
    return q >= budget_;
  }
  [[nodiscard]] KvPattern pattern(std::int64_t q) const override {
    return {sinks_, std::max<std::int64_t>(0, q - (budget_ - sinks_) + 1)};
  }

  [[nodiscard]] bool positions_in_cache() const override { return in_cache_; }

 private:
  std::int64_t budget_, sinks_;
  bool in_cache_;
};

}  // namespace

PolicyResult parse_window(const OptionArgs& args) {
  auto budget = args.whole("", 1, kLargestBudget, 0);
  ISOBIT_TRY(budget);
  return MadePolicy{
      std::make_shared<WindowPolicy>(*budget, 0, false), "window", std::to_string(*budget), {}};
}

PolicyResult parse_streaming(const OptionArgs& args) {
  auto budget = args.whole("", 1, kLargestBudget, 0);
  ISOBIT_TRY(budget);
  auto sinks = args.whole("sinks", 0, kLargestBudget, kSinks);
  ISOBIT_TRY(sinks);
  auto positions = args.word("positions", {"original", "in_cache"}, "original");
  ISOBIT_TRY(positions);
  const bool in_cache = *positions == "in_cache";
  if (*budget <= *sinks) {
    return Error{"a budget of " + std::to_string(*budget) + " has no room besides " +
                     std::to_string(*sinks) + " sinks",
                 ""};
  }
  MadePolicy made{std::make_shared<WindowPolicy>(*budget, *sinks, in_cache),
                  "streaming",
                  std::to_string(*budget),
                  {}};
  if (in_cache) made.options["positions"] = *positions;
  if (*sinks == 0 && !in_cache) {
    made.name = "window";
  } else if (*sinks != kSinks) {
    made.options["sinks"] = std::to_string(*sinks);
  }
  return made;
}

}  // namespace isobit
