// Which cells of a measured group make pairs, and which of them must be equal. Pure.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "harness/judge/judge.h"

namespace isobit {

/// A configuration and its reference.
struct ConfigurationPair {
  std::string configuration, reference;    // "kv=q8_0,batch=8": their values of `across`
  std::vector<std::pair<int, int>> cells;  // by sample: of the reference, of the configuration
  int unpatched = -1;  // of a patched one: the pair of the same configuration with `patch: none`
};

/// The pairs of a group, in the order of their configurations; one that is its own reference is in
/// none. The reference has the values of `against`, and the configuration's own on the other axes;
/// without `against` it has the usual values of all axes of `across` where the group has such a
/// configuration, and is the first one otherwise. `cells` is empty where the group has no
/// reference.
std::vector<ConfigurationPair> pairs_of(const Measure& measure, const Group& group,
                                        const Matrix& matrix);

/// Pairs of cells with equal bits: equal logits, tokens and recorded inner rows. Of each class its
/// first cell with every other.
std::vector<std::pair<int, int>> equal_pairs(const Group& group,
                                             const std::vector<JudgeCell>& cells);

/// Every pair of executed cells that the group's metrics and its control need by value.
std::vector<std::pair<int, int>> value_pairs(const Measure& measure, const Group& group,
                                             const Matrix& matrix,
                                             const std::vector<JudgeCell>& cells);

}  // namespace isobit
