// Which cells the contract compares with each other (matrix.h).
#include <algorithm>
#include <map>
#include <numeric>
#include <set>

#include "harness/matrix/matrix.h"

namespace isobit {

namespace {

/// The groups of one rule, or of one entry of `measure`.
class RuleGroups {
 public:
  RuleGroups(int number, const Filter& where, const std::vector<std::string>& across,
             const std::set<std::string>& named)
      : number_(number), where_(where), across_(across), named_(named) {}

  void add(const Cell& cell, bool selected) {
    if (!where_.matches(cell.subject())) return;
    std::string key;
    for (const std::string& axis : named_)
      if (!std::count(across_.begin(), across_.end(), axis))
        key += (key.empty() ? "" : ",") + axis + "=" + cell.value(axis);
    const auto [at, fresh] = by_key_.emplace(key, groups_.size());
    if (fresh) {
      groups_.push_back({number_, key, {}, 0, {}});
      first_.push_back(&cell);
    }
    Group& group = groups_[at->second];
    if (selected) group.cells.push_back(cell.index);
    group.unselected += selected ? 0 : 1;
    for (const std::string& axis : across_) {
      if (cell.value(axis) != first_[at->second]->value(axis)) group.ranges.insert(axis);
    }
  }

  /// Those with a selected cell, in the order of their first one.
  void move_to(std::vector<Group>& out) {
    std::set<std::string> varied;
    for (const Group& group : groups_) varied.insert(group.ranges.begin(), group.ranges.end());
    for (const std::string& axis : across_) {
      if (varied.count(axis) != 0) continue;
      for (Group& group : groups_) group.ranges.insert(axis);
    }
    for (Group& group : groups_) {
      if (!group.cells.empty()) out.push_back(std::move(group));
    }
  }

 private:
  int number_;
  const Filter& where_;
  const std::vector<std::string> across_;
  const std::set<std::string>& named_;
  std::map<std::string, std::size_t> by_key_;  // key -> index in groups_
  std::vector<Group> groups_;
  std::vector<const Cell*> first_;  // by group
};

std::set<std::string> named_axes(const Matrix& matrix) {
  std::set<std::string> named;
  for (const auto* cells : {&matrix.cells, &matrix.unselected}) {
    for (const Cell& cell : *cells) named.insert(cell.named_axes.begin(), cell.named_axes.end());
  }
  return named;
}

void add_groups(const Matrix& matrix, RuleGroups&& of_rule, std::vector<Group>& out) {
  for (const Cell& cell : matrix.cells) of_rule.add(cell, true);
  for (const Cell& cell : matrix.unselected) of_rule.add(cell, false);
  of_rule.move_to(out);
}

}  // namespace

std::vector<Group> groups_of(const Scenario& scenario, const Matrix& matrix) {
  const std::set<std::string> named = named_axes(matrix);
  std::vector<Group> groups;
  for (std::size_t r = 0; r < scenario.expect.size(); ++r) {
    const Expectation& rule = scenario.expect[r];
    add_groups(matrix, {int(r), rule.where, rule.across, named}, groups);
  }
  return groups;
}

std::vector<Group> measured_groups(const Scenario& scenario, const Matrix& matrix) {
  const std::set<std::string> named = named_axes(matrix);
  std::vector<Group> groups;
  for (std::size_t m = 0; m < scenario.measures.size(); ++m) {
    const Measure& measure = scenario.measures[m];
    std::vector<std::string> free = measure.across;
    if (!measure.over.empty()) free.push_back(measure.over);
    add_groups(matrix, {int(m), measure.where, free, named}, groups);
  }
  return groups;
}

bool needs_log_sums(const Scenario& scenario, const Cell& cell) {
  if (needs_fed_logits(scenario)) return true;
  return std::any_of(scenario.measures.begin(), scenario.measures.end(), [&](const Measure& m) {
    return m.needs_log_sums() && m.where.matches(cell.subject());
  });
}

bool needs_pair_values(const Scenario& scenario, const Cell& cell, bool inner) {
  return std::any_of(scenario.measures.begin(), scenario.measures.end(), [&](const Measure& m) {
    return (inner ? m.needs_inner_values() : m.needs_values()) && m.where.matches(cell.subject());
  });
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
