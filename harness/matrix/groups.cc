// Which cells the contract compares with each other (matrix.h).
#include <algorithm>
#include <map>
#include <numeric>
#include <set>

#include "harness/matrix/matrix.h"

namespace isobit {

namespace {

/// The groups of one rule.
class RuleGroups {
 public:
  RuleGroups(int number, const Expectation& rule, const std::set<std::string>& named)
      : number_(number), rule_(rule), named_(named) {}

  void add(const Cell& cell, bool selected) {
    if (!rule_.where.matches(cell.subject())) return;
    std::string key;
    for (const std::string& axis : named_)
      if (!std::count(rule_.across.begin(), rule_.across.end(), axis))
        key += (key.empty() ? "" : ",") + axis + "=" + cell.value(axis);
    const auto [at, fresh] = by_key_.emplace(key, groups_.size());
    if (fresh) {
      groups_.push_back({number_, key, {}, 0, {}});
      first_.push_back(&cell);
    }
    Group& group = groups_[at->second];
    if (selected) group.cells.push_back(cell.index);
    group.unselected += selected ? 0 : 1;
    for (const std::string& axis : rule_.across) {
      if (cell.value(axis) != first_[at->second]->value(axis)) group.ranges.insert(axis);
    }
  }

  /// Those with a selected cell, in the order of their first one.
  void move_to(std::vector<Group>& out) {
    std::set<std::string> varied;
    for (const Group& group : groups_) varied.insert(group.ranges.begin(), group.ranges.end());
    for (const std::string& axis : rule_.across) {
      if (varied.count(axis) != 0) continue;
      for (Group& group : groups_) group.ranges.insert(axis);
    }
    for (Group& group : groups_) {
      if (!group.cells.empty()) out.push_back(std::move(group));
    }
  }

 private:
  int number_;
  const Expectation& rule_;
  const std::set<std::string>& named_;
  std::map<std::string, std::size_t> by_key_;  // key -> index in groups_
  std::vector<Group> groups_;
  std::vector<const Cell*> first_;  // by group
};

}  // namespace

std::vector<Group> groups_of(const Scenario& scenario, const Matrix& matrix) {
  std::set<std::string> named;
  for (const auto* cells : {&matrix.cells, &matrix.unselected}) {
    for (const Cell& cell : *cells) named.insert(cell.named_axes.begin(), cell.named_axes.end());
  }
  std::vector<Group> groups;
  for (std::size_t r = 0; r < scenario.expect.size(); ++r) {
    RuleGroups of_rule(int(r), scenario.expect[r], named);
    for (const Cell& cell : matrix.cells) of_rule.add(cell, true);
    for (const Cell& cell : matrix.unselected) of_rule.add(cell, false);
    of_rule.move_to(groups);
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
