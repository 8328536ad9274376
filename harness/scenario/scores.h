// The key `score` of a scenario, and the rule `score` of its contract. Private to
// harness/scenario; called by read.cc.
#pragma once

#include <optional>
#include <vector>

#include "harness/scenario/tree.h"

namespace isobit {

/// Appends the entries of a list of names, or of maps of a name to its options. Gives the first
/// error, with its place.
std::optional<Error> read_scores(const Tree& tree, const TreeNode& node,
                                 std::vector<ScoreSpec>& out);

/// A rule {of, across, where, min, max, drop, rise}.
std::optional<Error> read_score_rule(const Tree& tree, const TreeNode& node, Expectation& out);

/// What a rule bounds is a score of the scenario, named there or not.
void add_scores_of_rules(Scenario& scenario);

}  // namespace isobit
