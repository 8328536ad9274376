// The scores of cells, what each is compared with, and the rules that bound them.
#include "harness/judge/scores.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <optional>
#include <set>

#include "harness/score/paired.h"
#include "harness/score/reply.h"
#include "runtime/base/text.h"

namespace isobit::judge_steps {
namespace {

/// Room for the rounding of a difference of two shares.
constexpr double kRounding = 1e-12;

std::string name_of(const ScoreEntry& entry) {
  return std::string(entry.score) + "." + entry.value;
}

bool is_value_of(const ScoreValue& value, const std::string& name) {
  const ScoreEntry* entry = find_score(name);
  return entry != nullptr && value.score == entry->score && value.value_name == entry->value;
}

ScoreValue* find_value(CellResult& cell, const std::string& name) {
  for (ScoreValue& value : cell.scores) {
    if (is_value_of(value, name)) return &value;
  }
  return nullptr;
}

std::vector<bool> rights_of(const std::vector<Outcome>& units) {
  std::vector<bool> out;
  for (const Outcome& unit : units) out.push_back(unit.x != 0);
  return out;
}

/// Holds a cell's value against the reference's.
void compare_value(const ScoreOutcomes& own, const ScoreOutcomes& other, int reference,
                   const ScoreValue& of_reference, ScoreValue& out) {
  if (!out.value || !of_reference.value) return;
  out.reference = reference;
  out.difference = *out.value - *of_reference.value;
  if (!own.entry->counts || own.units.size() != other.units.size()) return;
  const Discordant pairs = discordant(rights_of(other.units), rights_of(own.units));
  out.gained = pairs.gained;
  out.lost = pairs.lost;
  out.p = mcnemar_exact(pairs);
}

/// Differences of one value from `reference` of those cells of a list that are not `done`.
void compare_with(Judging& all, const Scores& scores, const std::vector<int>& cells, int reference,
                  const std::string& value, const std::set<int>& done) {
  for (const int i : cells) {
    CellResult &cell = all.result(i), &other = all.result(reference);
    ScoreValue* const own = find_value(cell, value);
    const ScoreValue* const its = find_value(other, value);
    if (i == reference || own == nullptr || its == nullptr || done.count(i) != 0) continue;
    const auto place = std::size_t(own - cell.scores.data());
    compare_value(scores.outcomes.at(i)[place], scores.outcomes.at(reference)[place], reference,
                  *its, *own);
  }
}

/// Cells whose values of a score were compared, or are what others were compared with.
using Compared = std::map<ScoreKind, std::set<int>>;

void compare_with(Judging& all, const Scores& scores, const std::vector<int>& cells, int reference,
                  ScoreKind kind, Compared& compared) {
  std::set<int>& done = compared[kind];
  for (const ScoreEntry& entry : all_scores()) {
    if (entry.kind == kind) compare_with(all, scores, cells, reference, name_of(entry), done);
  }
  done.insert(cells.begin(), cells.end());
}

/// By model: cells of two are not compared.
std::map<std::string, std::vector<int>> cells_with_scores(const Judging& all) {
  std::map<std::string, std::vector<int>> out;
  for (int i = 0; i < int(all.in.cells.size()); ++i) {
    if (all.out.cells[std::size_t(i)].scores.empty()) continue;
    out[all.in.matrix.cells[std::size_t(i)].value("model")].push_back(i);
  }
  return out;
}

/// Why drop and rise cannot be judged: the cell that the group as a whole refers to has no score
/// here, and another one would be taken for it.
std::optional<Judgement> no_reference(const Judging& all, const Group& group,
                                      const std::vector<int>& scored) {
  const Expectation& rule = all.in.scenario.expect[std::size_t(group.rule)];
  if (!rule.drop && !rule.rise) return {};
  const int meant = reference_of(all.in.matrix, group.cells, rule.across);
  if (std::find(scored.begin(), scored.end(), meant) == scored.end()) {
    return Judgement{Verdict::mistrusted, Severity::none,
                     "the reference, " + all.name(meant) + ", has no score"};
  }
  const Cell& cell = all.in.matrix.cells[std::size_t(meant)];
  const bool usual =
      std::all_of(rule.across.begin(), rule.across.end(),
                  [&](const std::string& axis) { return is_usual(axis, cell.at(axis)); });
  if (group.unselected == 0 || usual) return {};
  return Judgement{Verdict::not_run, Severity::none,
                   "the reference may be one of the cells that were not selected"};
}

/// Why a cell breaks a rule, or empty. Without a reference drop and rise are not judged.
std::string broken_bound(const Expectation& rule, double value, std::optional<double> reference,
                         const std::string& reference_name) {
  const auto said = [&](const std::string& what, double bound) {
    return "score " + rule.score + " " + text::number(value) + what + text::number(bound);
  };
  if (rule.min && value < *rule.min - kRounding) return said(" is below min ", *rule.min);
  if (rule.max && value > *rule.max + kRounding) return said(" is above max ", *rule.max);
  if (!reference) return "";
  const std::string than =
      text::number(*reference) + ", that of " + reference_name + ", by more than ";
  if (rule.drop && *reference - value > *rule.drop + kRounding)
    return said(" is below " + than, *rule.drop);
  if (rule.rise && value - *reference > *rule.rise + kRounding)
    return said(" is above " + than, *rule.rise);
  return "";
}

/// "score answer 0.4 (batch=1 …) to 0.5"; which cell is the reference.
std::string summary_of(Judging& all, const Expectation& rule, const std::vector<int>& members,
                       int reference) {
  double least = 0, most = 0;
  bool first = true;
  for (const int i : members) {
    const double value = *find_value(all.result(i), rule.score)->value;
    least = first ? value : std::min(least, value);
    most = first ? value : std::max(most, value);
    first = false;
  }
  return rule.score + " from " + text::number(least) + " to " + text::number(most) +
         "; reference " + text::number(*find_value(all.result(reference), rule.score)->value) +
         ", " + all.name(reference);
}

/// The axes' values of `across` of a cell: what tells the arms of a rule apart.
std::string arm_of(const Judging& all, const Expectation& rule, int cell) {
  std::string out;
  for (const std::string& axis : rule.across) {
    out +=
        (out.empty() ? "" : ",") + axis + "=" + all.in.matrix.cells[std::size_t(cell)].value(axis);
  }
  return out;
}

}  // namespace

int reference_of(const Matrix& matrix, const std::vector<int>& cells,
                 const std::vector<std::string>& axes) {
  const auto value = [&](int i, const std::string& axis) {
    return matrix.cells[std::size_t(i)].value(axis);
  };
  std::vector<std::string> varied;  // an axis with one value has no say in which cell it is
  std::copy_if(axes.begin(), axes.end(), std::back_inserter(varied), [&](const std::string& axis) {
    return std::any_of(cells.begin(), cells.end(),
                       [&](int i) { return value(i, axis) != value(cells.front(), axis); });
  });
  const auto usual = [&](int i) {
    return std::all_of(varied.begin(), varied.end(), [&](const std::string& axis) {
      return is_usual(axis, matrix.cells[std::size_t(i)].at(axis));
    });
  };
  const auto at = std::find_if(cells.begin(), cells.end(), usual);
  return at == cells.end() ? cells.front() : *at;
}

void score_cell(Judging& all, int i, Scores& scores) {
  const CellTrace& trace = all.trace(i);
  const Scenario& scenario = all.in.scenario;
  CellResult& result = all.result(i);
  result.score = score_of(trace, reply_score(scenario));
  if (all.in.lines == nullptr || scenario.scores.empty()) return;
  if (trace.status != CellStatus::ok && trace.status != CellStatus::recomputed_differs) return;
  const std::string& taught = all.in.matrix.cells[std::size_t(i)].value("teacher_forced");
  const auto lines = all.in.lines->find(all.in.matrix.cells[std::size_t(i)].value("model"));
  if (lines == all.in.lines->end()) return;
  for (const ScoreSpec& spec : scenario.scores) {
    for (ScoreOutcomes& one : evaluate(spec, *lines->second, trace, taught)) {
      result.scores.push_back(value_of(one));
      if (one.broken) {
        all.raise(i, {Verdict::fail, Severity::none,
                      std::string("score ") + one.entry->score + ": " + one.reason});
      }
      scores.outcomes[i].push_back(std::move(one));
    }
  }
}

void compare_scores(Judging& all, const std::vector<Group>& groups, const Scores& scores) {
  Compared compared;
  for (const Group& group : groups) {
    const Expectation& rule = all.in.scenario.expect[std::size_t(group.rule)];
    if (rule.kind != Expectation::Kind::score) continue;
    const std::vector<int> members = scored_members(all, rule, group.cells);
    if (members.empty()) continue;
    const int reference = reference_of(all.in.matrix, members, rule.across);
    compare_with(all, scores, members, reference, find_score(rule.score)->kind, compared);
  }
  const auto by_model = cells_with_scores(all);
  for (const auto& [model, cells] : by_model) {
    const int reference = reference_of(all.in.matrix, cells,
                                       all.in.matrix.cells[std::size_t(cells.front())].named_axes);
    for (const ScoreSpec& spec : all.in.scenario.scores) {
      compare_with(all, scores, cells, reference, spec.kind, compared);
    }
  }
  if (by_model.empty()) return;
  const std::string left = not_judged_text(*all.in.lines->begin()->second);
  const auto& specs = all.in.scenario.scores;
  const bool asked = std::any_of(specs.begin(), specs.end(), [](const ScoreSpec& spec) {
    return spec.kind == ScoreKind::ifeval;
  });
  if (asked && !left.empty()) all.out.notes.push_back("ifeval: not judged: " + left);
}

std::vector<int> scored_members(Judging& all, const Expectation& rule,
                                const std::vector<int>& cells) {
  std::vector<int> out;
  for (const int i : cells) {
    const ScoreValue* value = find_value(all.result(i), rule.score);
    if (value != nullptr && value->value) out.push_back(i);
  }
  return out;
}

void judge_score(Judging& all, const Group& group, const std::vector<int>& members,
                 GroupResult& out) {
  const Expectation& rule = all.in.scenario.expect[std::size_t(group.rule)];
  for (const int i : members) {
    all.compared[std::size_t(i)] = true;
    const ScoreValue* value = find_value(all.result(i), rule.score);
    if (value != nullptr && value->value) continue;
    const std::string why = value == nullptr ? "it was not scored" : value->reason;
    out.judgement = {Verdict::mistrusted, Severity::none, "no score " + rule.score + ": " + why};
    all.raise(i, out.judgement);
  }
  const std::vector<int> scored = scored_members(all, rule, members);
  out.compared_cells = std::int64_t(scored.size());
  if (scored.empty()) return;
  const int reference = reference_of(all.in.matrix, scored, rule.across);
  const std::optional<Judgement> doubt = no_reference(all, group, scored);
  std::optional<double> at;
  if (!doubt) at = find_value(all.result(reference), rule.score)->value;
  std::string first;
  for (const int i : scored) {
    for (const PromptTrace& prompt : all.trace(i).prompts)
      out.compared_tokens += doubt ? 0 : std::int64_t(prompt.tokens.size());
    const double value = *find_value(all.result(i), rule.score)->value;
    const std::string why = broken_bound(rule, value, at, all.name(reference));
    if (why.empty()) continue;
    all.raise(i, {Verdict::diff, Severity::none, why});
    if (first.empty()) first = why;
  }
  if (!first.empty()) {
    out.judgement = {Verdict::diff, Severity::none, first};
  } else if (doubt) {
    out.judgement = *doubt;
  } else if (out.judgement.verdict == Verdict::pass) {
    out.judgement.reason = summary_of(all, rule, scored, reference);
  }
}

void note_sign_tests(Judging& all, const std::vector<Group>& groups) {
  struct Arm {
    std::int64_t better = 0, worse = 0, conditions = 0;
  };
  for (std::size_t r = 0; r < all.in.scenario.expect.size(); ++r) {
    const Expectation& rule = all.in.scenario.expect[r];
    if (rule.kind != Expectation::Kind::score) continue;
    std::map<std::pair<std::string, std::string>, Arm> arms;  // reference's arm, own arm
    for (const Group& group : groups) {
      if (group.rule != int(r)) continue;
      const std::vector<int> members = scored_members(all, rule, group.cells);
      if (members.empty()) continue;
      const int reference = reference_of(all.in.matrix, members, rule.across);
      const double at = *find_value(all.result(reference), rule.score)->value;
      for (const int i : members) {
        if (i == reference) continue;
        Arm& arm = arms[{arm_of(all, rule, reference), arm_of(all, rule, i)}];
        double more = *find_value(all.result(i), rule.score)->value - at;
        if (find_score(rule.score)->lower) more = -more;
        ++arm.conditions;
        arm.better += more > 0 ? 1 : 0;
        arm.worse += more < 0 ? 1 : 0;
      }
    }
    for (const auto& [names, arm] : arms) {
      if (arm.conditions < 2) continue;
      all.out.notes.push_back(
          "score " + rule.score + ": " + names.second + " better than " + names.first + " in " +
          std::to_string(arm.better) + ", worse in " + std::to_string(arm.worse) + " of " +
          std::to_string(arm.conditions) +
          " groups (sign test p = " + text::number(sign_test(arm.better, arm.worse)) + ")");
    }
  }
}

}  // namespace isobit::judge_steps
