// The choice that every scored eviction makes: the keys with the largest scores stay, the lower
// position among equals; what is no number is below every number. Callers: policies/.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "runtime/cache/policy.h"
#include "runtime/numerics/bits.h"

namespace isobit {

constexpr std::int64_t kLargestBudget = std::int64_t(1) << 30;  // keys

/// Of the positions that are kept, clears all but the `budget` best.
inline void keep_best(std::span<const double> scores, std::int64_t budget,
                      std::span<std::uint8_t> keep) {
  std::vector<std::size_t> kept;
  for (std::size_t j = 0; j < keep.size(); ++j) {
    if (keep[j] != 0) kept.push_back(j);
  }
  if (std::int64_t(kept.size()) <= budget) return;
  const auto value = [&](std::size_t j) {
    return is_nan(scores[j]) ? -std::numeric_limits<double>::infinity() : scores[j];
  };
  const auto better = [&](std::size_t a, std::size_t b) {
    const bool a_is = !is_nan(scores[a]), b_is = !is_nan(scores[b]);
    if (a_is != b_is) return a_is;
    return value(a) > value(b) || (value(a) == value(b) && a < b);
  };
  if (std::int64_t(kept.size()) == budget + 1) {  // after each generated row: one pass
    keep[*std::max_element(kept.begin(), kept.end(), better)] = 0;
    return;
  }
  const auto evicted = kept.begin() + budget;
  std::nth_element(kept.begin(), evicted, kept.end(), better);
  for (auto j = evicted; j != kept.end(); ++j) keep[*j] = 0;
}

/// The same for each KV head among positions [begin, end), by the sum of its query heads' scores,
/// ascending from +0. `keep`: (KV heads, positions).
inline void keep_best_by_head(const KvScores& scores, std::int64_t begin, std::int64_t end,
                              std::int64_t budget, std::span<std::uint8_t> keep) {
  const std::int64_t group = scores.heads / scores.kv_heads;
  const auto from = std::size_t(begin), count = std::size_t(end - begin);
  for (std::int64_t kv = 0; kv < scores.kv_heads; ++kv) {
    std::vector<double> sum(count, 0.0);
    for (std::int64_t h = kv * group; h < (kv + 1) * group; ++h) {
      const std::span<const double> head = scores.of(h).subspan(from, count);
      for (std::size_t j = 0; j < count; ++j) sum[j] = sum[j] + head[j];
    }
    keep_best(sum, budget, keep.subspan(std::size_t(kv * scores.positions) + from, count));
  }
}

/// What chooses for each KV head once, when a prompt of more than `budget` tokens has ended.
class ChoosesOnce : public CachePolicy {
 public:
  explicit ChoosesOnce(std::int64_t budget) : budget_(budget) {}
  [[nodiscard]] bool acts(const KvModel&, std::int64_t n, std::int64_t q) const final {
    return q >= n && n > budget_;
  }
  [[nodiscard]] bool selects(std::int64_t n, std::int64_t q) const final {
    return q + 1 == n && n > budget_;
  }
  [[nodiscard]] bool selects_by_head() const final { return true; }

 protected:
  std::int64_t budget_;
};

/// What chooses after the prompt and after each generated row, as soon as there are too many.
class ChoosesEachRow : public CachePolicy {
 public:
  explicit ChoosesEachRow(std::int64_t budget) : budget_(budget) {}
  [[nodiscard]] bool acts(const KvModel&, std::int64_t n, std::int64_t q) const final {
    return q >= n && q > budget_;
  }
  [[nodiscard]] bool selects(std::int64_t n, std::int64_t q) const final { return q + 1 >= n; }

 protected:
  std::int64_t budget_;
};

/// Adds a row's weights to those of the rows before.
inline void add_weights(std::span<const double> weights, std::span<double> sums) {
  for (std::size_t j = 0; j < sums.size(); ++j) sums[j] = sums[j] + weights[j];
}

}  // namespace isobit
