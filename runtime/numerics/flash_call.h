// The rule of one attention call: how many splits of the keys its rows have, and what of a schedule
// has run so far (NUMERICS.md, "Emulated schedules"). Host only. Callers: backends.
#pragma once

#include <algorithm>
#include <string>

#include "runtime/numerics/flash.h"
#include "runtime/numerics/flash_text.h"

namespace isobit {

/// Rows of one attention call, for splits by length.
struct FlashShape {
  std::int64_t query_blocks = 0;  // 64 rows of one sequence each, the last may have fewer
  std::int64_t heads = 0;
  std::int64_t longest = 0;  // positions of the longest context
};

/// FlashAttention-2's choice (its num_splits_heuristic) with 132 multiprocessors of two blocks: 1
/// where heads * query blocks fill 0.8 of them, else the least eligible n whose last wave is filled
/// to 0.85 of the best; n is eligible where it makes a split shorter than n - 1 does.
inline std::int32_t flash_splits(const FlashShape& shape, std::int32_t block) {
  constexpr std::int64_t kPlaces = 2 * 132;
  const std::int64_t tasks = std::max<std::int64_t>(shape.heads, 1) * shape.query_blocks;
  const std::int64_t blocks = (shape.longest + block - 1) / block;
  const std::int64_t most = std::min<std::int64_t>(kMostFlashSplits, blocks);
  if (10 * tasks >= 8 * kPlaces) return 1;
  const auto length = [&](std::int64_t n) { return (blocks + n - 1) / n; };
  const auto waves = [&](std::int64_t n) { return (n * tasks + kPlaces - 1) / kPlaces; };
  // Filled places of n's waves, n * tasks / (waves * places): compared by cross products.
  std::int64_t best = 1;
  for (std::int64_t n = 2; n <= most; ++n) {
    if (length(n) < length(n - 1) && n * waves(best) > best * waves(n)) best = n;
  }
  for (std::int64_t n = 1; n < best; ++n) {
    if (n > 1 && length(n) >= length(n - 1)) continue;
    if (20 * n * waves(best) >= 17 * best * waves(n)) return std::int32_t(n);
  }
  return std::int32_t(best);
}

/// One backend's calls under one schedule.
class FlashCalls {
 public:
  explicit FlashCalls(const FlashSchedule& schedule) : schedule_(schedule) {}
  [[nodiscard]] bool emulated() const { return schedule_.emulated(); }
  [[nodiscard]] bool by_length() const { return schedule_.by_length; }

  /// The rule of a call over AttentionRows (runtime/backend.h): n by all rows of the call.
  template <class Args>
  [[nodiscard]] FlashRule rule(const Args& args) const {
    FlashRule rule{schedule_.block, schedule_.splits, 0,
                   schedule_.p,     schedule_.beta,   schedule_.loose};
    if (!schedule_.by_length) return rule;
    const FlashShape shape = shape_of(args);
    rule.splits = flash_splits(shape, rule.block);
    const std::int64_t blocks = (shape.longest + rule.block - 1) / rule.block;
    rule.call_blocks = (blocks + rule.splits - 1) / rule.splits;
    return rule;
  }

  /// Notes that a call runs.
  template <class Args>
  void note(const FlashRule& rule, const Args& args) {
    ran_ = ran_ || !args.rows.empty();
    for (std::size_t r = 0; r < args.rows.size() && !split_; ++r) {
      split_ = has_splits(rule, args.rows[r]);
    }
  }
  /// Notes that the mitigation acted on some block.
  void note_mitigation() { mitigated_ = true; }
  [[nodiscard]] bool mitigates() const { return schedule_.beta != 0.0; }
  /// The schedule's text, without splits where no row ever had keys in two, and without a
  /// mitigation that never acted; "reference" before the first call.
  [[nodiscard]] std::string ran() const {
    if (!ran_) return FlashSchedule{}.text;
    FlashSchedule seen = schedule_;
    if (!split_) seen = without_splits(seen);
    if (!mitigated_) seen = without_mitigation(seen);
    return text_of(seen);
  }

 private:
  /// Neighbouring rows of one page table are of one sequence.
  template <class Args>
  static FlashShape shape_of(const Args& args) {
    FlashShape shape;
    shape.heads = args.heads;
    for (std::size_t begin = 0, end; begin < args.rows.size(); begin = end) {
      for (end = begin; end < args.rows.size() && args.rows[end].table == args.rows[begin].table;
           ++end) {
        shape.longest = std::max(shape.longest, args.rows[end].position + 1);
      }
      shape.query_blocks += (std::int64_t(end - begin) + 63) / 64;
    }
    return shape;
  }
  /// Whether a row has visible keys in two splits.
  template <class Row>
  static bool has_splits(const FlashRule& rule, const Row& row) {
    const std::int64_t positions = rule.blocks_of_split(row.position) * rule.block;
    if (row.keep == nullptr) return row.first / positions != row.position / positions;
    std::int64_t seen = -1;
    for (std::int64_t p = row.first; p <= row.position; ++p) {
      if (row.keep[p] == 0) continue;
      if (seen >= 0 && p / positions != seen) return true;
      seen = p / positions;
    }
    return false;
  }

  FlashSchedule schedule_;
  bool ran_ = false, split_ = false, mitigated_ = false;
};

}  // namespace isobit
