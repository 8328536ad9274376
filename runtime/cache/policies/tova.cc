// tova: after the prompt, and after each generated token, a layer keeps the B keys to which the
// latest query gave the most weight, summed over all query heads. Positions stay the original ones.

#include <algorithm>
#include <charconv>
#include <numeric>

#include "runtime/cache/policies/table.h"
#include "runtime/numerics/bits.h"

namespace isobit {
namespace {

class TovaPolicy final : public CachePolicy {
 public:
  explicit TovaPolicy(std::int64_t budget) : budget_(budget) {}

  [[nodiscard]] bool selects(std::int64_t n, std::int64_t q) const override { return q + 1 >= n; }

  void select(std::span<const double> weights, std::span<std::uint8_t> keep) const override {
    std::vector<std::size_t> kept;
    for (std::size_t j = 0; j < keep.size(); ++j) {
      if (keep[j] != 0) kept.push_back(j);
    }
    if (std::int64_t(kept.size()) <= budget_) return;
    // Greatest weight first, the lower position among equals; what is no number is least.
    const auto rank = [&](std::size_t j) { return is_nan(weights[j]) ? -1.0 : weights[j]; };
    const auto evicted = kept.begin() + budget_;
    std::nth_element(kept.begin(), evicted, kept.end(), [&](std::size_t a, std::size_t b) {
      return rank(a) > rank(b) || (rank(a) == rank(b) && a < b);
    });
    for (auto j = evicted; j != kept.end(); ++j) keep[*j] = 0;
  }

  [[nodiscard]] bool acts(std::int64_t n, std::int64_t q) const override {
    return q >= n && q > budget_;
  }

 private:
  std::int64_t budget_;
};

}  // namespace

PolicyResult parse_tova(const std::string& argument) {
  std::int64_t budget = 0;
  const char* end = argument.data() + argument.size();
  const auto [stop, error] = std::from_chars(argument.data(), end, budget);
  constexpr std::int64_t kMost = std::int64_t(1) << 30;
  const bool whole = error == std::errc() && stop == end && std::to_string(budget) == argument;
  if (!whole || budget < 1 || budget > kMost) {
    return Error{"tova's budget is a number of keys from 1 to 1073741824", ""};
  }
  return PolicyResult(std::make_shared<TovaPolicy>(budget));
}

}  // namespace isobit
