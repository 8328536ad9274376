// The key `ensemble` of a scenario: rules that measure what a group's cells predict together.
// Private to harness/scenario; called by read.cc.
#pragma once

#include <vector>

#include "harness/scenario/tree.h"

namespace isobit {

/// Appends the rules of a list of {across, where, bins}; `across` names the axis weights. Gives the
/// first error, with its place.
std::optional<Error> read_ensembles(const Tree& tree, const TreeNode& node,
                                    std::vector<Expectation>& rules);

}  // namespace isobit
