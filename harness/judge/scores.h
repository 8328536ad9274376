// The steps of the judge that scores need. Private to harness/judge.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "harness/judge/steps.h"
#include "harness/score/evaluate.h"

namespace isobit::judge_steps {

/// Units of every value of every scored cell, beside CellResult::scores.
struct Scores {
  std::map<int, std::vector<ScoreOutcomes>> outcomes;  // by cell
};

/// The values of a cell with a trace; FAIL where the trace lacks what its prompts ask for.
void score_cell(Judging& all, int i, Scores& scores);

/// Of some cells the one whose values of `axes` are the defaults, else the first.
/// REQUIRES: there is one.
int reference_of(const Matrix& matrix, const std::vector<int>& cells,
                 const std::vector<std::string>& axes);

/// Differences of every value from that of a reference cell: that of the first score rule's group
/// that the cell is in, else that of all scored cells of its model. Notes the instructions that are
/// not judged.
void compare_scores(Judging& all, const std::vector<Group>& groups, const Scores& scores);

/// Those of `cells` that have the value that a rule bounds.
std::vector<int> scored_members(Judging& all, const Expectation& rule,
                                const std::vector<int>& cells);

/// A rule's bounds on a group; cells of `members` are comparable.
void judge_score(Judging& all, const Group& group, const std::vector<int>& members,
                 GroupResult& out);

/// Over the groups of a rule, in how many each arm was better than the reference's.
void note_sign_tests(Judging& all, const std::vector<Group>& groups);

}  // namespace isobit::judge_steps
