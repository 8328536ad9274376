// Which cells the contract compares with each other (matrix.h).
#include <algorithm>
#include <map>
#include <numeric>
#include <set>

#include "harness/matrix/matrix.h"

namespace isobit {

std::vector<Group> groups_of(const Scenario& scenario, const Matrix& matrix) {
  std::set<std::string> named;
  for (const Cell& cell : matrix.cells)
    named.insert(cell.named_axes.begin(), cell.named_axes.end());
  std::vector<Group> groups;
  for (std::size_t r = 0; r < scenario.expect.size(); ++r) {
    const Expectation& rule = scenario.expect[r];
    std::map<std::string, std::size_t> by_key;  // key -> index in groups
    for (const Cell& cell : matrix.cells) {
      if (!rule.where.matches(cell.subject())) continue;
      std::string key;
      for (const std::string& axis : named)
        if (!std::count(rule.across.begin(), rule.across.end(), axis))
          key += (key.empty() ? "" : ",") + axis + "=" + cell.value(axis);
      const auto [at, fresh] = by_key.emplace(key, groups.size());
      if (fresh) groups.push_back({static_cast<int>(r), key, {}});
      groups[at->second].cells.push_back(cell.index);
    }
  }
  return groups;
}

std::vector<std::vector<int>> united(const std::vector<Group>& groups, const Matrix& matrix) {
  std::vector<int> parent(matrix.cells.size());  // union-find; the root is the smallest
  std::iota(parent.begin(), parent.end(), 0);
  const auto root = [&parent](int cell) {
    while (parent[std::size_t(cell)] != cell) {
      parent[std::size_t(cell)] = parent[std::size_t(parent[std::size_t(cell)])];
      cell = parent[std::size_t(cell)];
    }
    return cell;
  };
  for (const Group& group : groups) {
    for (const int cell : group.cells) {
      const int a = root(group.cells.front()), b = root(cell);
      parent[std::size_t(std::max(a, b))] = std::min(a, b);
    }
  }
  std::map<int, std::vector<int>> parts;
  for (int cell = 0; cell < int(parent.size()); ++cell) parts[root(cell)].push_back(cell);
  std::vector<std::vector<int>> out;
  for (auto& [first, cells] : parts) out.push_back(std::move(cells));
  return out;
}

}  // namespace isobit
