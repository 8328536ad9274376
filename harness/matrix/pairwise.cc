// Lazy greedy: the gain of a candidate only falls, so an old gain is an upper bound and the heap's
// top, when its fresh gain still leads, is the exact greedy choice.
#include "harness/matrix/pairwise.h"

#include <algorithm>
#include <cstdint>
#include <functional>
#include <queue>
#include <unordered_set>

namespace isobit {
namespace {

/// Numbers of the pairs in a row: (factor, factor, value, value); one factor pairs with itself.
std::vector<std::uint64_t> pairs_of(const std::vector<int>& row) {
  const auto number = [&](std::size_t i, std::size_t j) {
    const auto value = [&](std::size_t k) { return static_cast<std::uint64_t>(row[k]); };
    return (((i * row.size() + j) << 24 | value(i)) << 24) | value(j);
  };
  std::vector<std::uint64_t> pairs;
  if (row.size() == 1) pairs.push_back(number(0, 0));
  for (std::size_t i = 0; i < row.size(); ++i)
    for (std::size_t j = i + 1; j < row.size(); ++j) pairs.push_back(number(i, j));
  return pairs;
}

struct Candidate {
  int gain;  // upper bound
  int row;
  bool operator<(const Candidate& other) const {
    return gain != other.gain ? gain < other.gain : row > other.row;
  }
};

}  // namespace

std::vector<int> pairwise_subset(const std::vector<std::vector<int>>& rows) {
  std::unordered_set<std::uint64_t> uncovered;
  std::priority_queue<Candidate> queue;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const std::vector<std::uint64_t> pairs = pairs_of(rows[i]);
    uncovered.insert(pairs.begin(), pairs.end());
    queue.push({static_cast<int>(pairs.size()), static_cast<int>(i)});
  }
  std::vector<int> chosen;
  while (!uncovered.empty() && !queue.empty()) {
    Candidate best = queue.top();
    queue.pop();
    const std::vector<std::uint64_t> pairs = pairs_of(rows[static_cast<std::size_t>(best.row)]);
    const auto open = [&](std::uint64_t pair) { return uncovered.count(pair) != 0; };
    best.gain = static_cast<int>(std::count_if(pairs.begin(), pairs.end(), open));
    if (best.gain == 0) continue;
    if (!queue.empty() && best < queue.top()) {
      queue.push(best);
      continue;
    }
    for (const std::uint64_t pair : pairs) uncovered.erase(pair);
    chosen.push_back(best.row);
  }
  std::sort(chosen.begin(), chosen.end());
  return chosen;
}

}  // namespace isobit
