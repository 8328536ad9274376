// All-pairs subset of a set of cells: greedy covering array, deterministic. Pure; for matrix.cc.
#pragma once

#include <vector>

namespace isobit {

/// `rows`: candidates, each the value index of every factor (all rows equally long). Returns the
/// indices of a subset, ascending, in which every pair of values of two factors that occurs in
/// some candidate occurs too (with one factor: every value). Each step takes the candidate with
/// most uncovered pairs, the first of equals.
std::vector<int> pairwise_subset(const std::vector<std::vector<int>>& rows);

}  // namespace isobit
