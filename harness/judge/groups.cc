// The contract's rules, one group at a time.
#include <algorithm>
#include <map>
#include <set>

#include "harness/judge/operation.h"
#include "harness/judge/scores.h"
#include "harness/judge/steps.h"

namespace isobit::judge_steps {
namespace {

std::vector<int> comparable(const Judging& all, const Group& group) {
  std::vector<int> out;
  for (const int i : group.cells) {
    if (is_comparable(all.cell(i), all.strict.count(i) != 0)) out.push_back(i);
  }
  return out;
}

/// Axes that the group ranges over and that have one value among the cells that were compared.
std::string unexercised(const Judging& all, const Expectation& rule, const Group& group,
                        const std::vector<int>& members) {
  std::string axes;
  for (const std::string& axis : rule.across) {
    if (group.ranges.count(axis) == 0) continue;
    std::set<std::string> values;
    for (const int i : members) values.insert(all.in.matrix.cells[std::size_t(i)].value(axis));
    if (values.size() < 2) axes += (axes.empty() ? "" : ", ") + axis;
  }
  return axes;
}

/// What holds for the cells that were compared is no PASS for an axis that they did not exercise.
void judge_coverage(const Judging& all, const Group& group, const std::vector<int>& members,
                    GroupResult& out) {
  if (out.judgement.verdict != Verdict::pass) return;
  const Expectation& rule = all.in.scenario.expect[std::size_t(group.rule)];
  const std::string axes = unexercised(all, rule, group, members);
  if (axes.empty()) return;
  using Kind = Expectation::Kind;
  const bool demands = rule.kind != Kind::ensemble && rule.kind != Kind::measure;
  out.judgement = {Verdict::not_run, Severity::none,
                   "not exercised: " + axes + (demands ? "; what was compared agrees" : "")};
}

/// What became of a cell that cannot be compared.
const char* fate_of(const JudgeCell& cell) {
  if (cell.state == JudgeCell::State::skipped) return "skipped";
  if (!cell.has_trace()) return "not run";
  switch (cell.attempts.front().status) {
    case CellStatus::crashed:
      return "crashed";
    case CellStatus::timed_out:
      return "out of time";
    case CellStatus::non_finite:
      return "not finite";
    case CellStatus::recomputed_differs:
      return "different inside its batch";
    default:
      return "failed";
  }
}

/// "vacuous: 1 of 4 cells of the group has a result (1 failed, 2 skipped)"
std::string vacuous_text(const Judging& all, const Group& group, std::size_t compared) {
  std::map<std::string, std::int64_t> fates;
  for (const int i : group.cells) {
    if (!is_comparable(all.cell(i), all.strict.count(i) != 0)) ++fates[fate_of(all.cell(i))];
  }
  std::string others;
  for (const auto& [fate, cells] : fates) {
    others += (others.empty() ? "" : ", ") + std::to_string(cells) + " " + fate;
  }
  const std::size_t whole = group.cells.size();
  return "vacuous: " + std::to_string(compared) + " of " + std::to_string(whole) +
         (whole == 1 ? " cell" : " cells") + " of the group " + (compared == 1 ? "has" : "have") +
         " a result" + (others.empty() ? "" : " (" + others + ")");
}

/// What a filter left out of a group is said with its verdict, whatever that is.
void say_unselected(const Group& group, GroupResult& out) {
  out.unselected_cells = group.unselected;
  if (group.unselected == 0) return;
  std::string& reason = out.judgement.reason;
  reason += (reason.empty() ? "" : "; ") +
            unselected_text(group.unselected, std::int64_t(group.cells.size()));
}

/// Fewer than two cells can be compared.
void judge_vacuous(Judging& all, const Group& group, const std::vector<int>& members,
                   GroupResult& out) {
  const auto state_is = [&](JudgeCell::State state) {
    return [&all, state](int i) { return all.cell(i).state == state; };
  };
  const bool none_ran =
      std::all_of(group.cells.begin(), group.cells.end(), state_is(JudgeCell::State::skipped));
  const bool waiting =
      std::any_of(group.cells.begin(), group.cells.end(), state_is(JudgeCell::State::not_run));
  const std::string why = vacuous_text(all, group, members.size());
  out.judgement = {Verdict::mistrusted, Severity::none, why};
  if (none_ran) out.judgement = {Verdict::skip, Severity::none, "every cell was skipped"};
  if (waiting) out.judgement.verdict = Verdict::not_run;
  say_unselected(group, out);
  for (const int i : members) {
    if (out.judgement.verdict == Verdict::mistrusted) {
      all.raise(i, out.judgement);
    } else {
      all.compared[std::size_t(i)] = true;
    }
  }
}

/// Logits agree; do recorded layers and operations too?
void find_inner_difference(const CellTrace& a, const CellTrace& b, Comparison& c) {
  for (std::size_t p = 0; p < std::min(a.prompts.size(), b.prompts.size()) && !c.first; ++p) {
    const auto where = localise(a.prompts[p], b.prompts[p]);
    if (!where) continue;
    Divergence d;
    d.prompt = int(p);
    d.prompt_id = a.prompts[p].id;
    d.position = where->position;
    d.a = where->a;
    d.b = where->b;
    d.what = "inner row";
    c.first = d;
    c.severity = Severity::bits_only;
  }
}

std::string layer_and_site(const CellTrace& a, const CellTrace& b, int prompt) {
  const auto p = std::size_t(prompt);
  if (prompt < 0 || p >= a.prompts.size() || p >= b.prompts.size()) return "";
  const auto where = localise(a.prompts[p], b.prompts[p]);
  if (!where) return "";
  return "position " + std::to_string(where->position) + ", layer " + std::to_string(where->layer) +
         ", " + name_of(where->site);
}

/// " at prompt p1, position 7", " at shape q_proj, row 3"
std::string place_text(const Judging& all, const Divergence& first) {
  const bool model = all.in.scenario.operation.kind == OperationKind::none;
  return (model ? " at prompt " : " at shape ") + first.prompt_id +
         (model ? ", position " : ", row ") + std::to_string(first.position);
}

void differs(Judging& all, int i, int base, const Comparison& c, GroupResult& group) {
  const std::string against = all.name(base);
  all.raise(i, {Verdict::diff, c.severity, "differs from " + against + place_text(all, *c.first)});
  all.note_difference(i, c, against, base);
  Difference& difference = all.result(i).difference;
  if (difference.layer_site.empty()) {
    difference.layer_site = layer_and_site(all.trace(base), all.trace(i), c.first->prompt);
  }
  group.judgement = {Verdict::diff, Severity::none, "bits differ"};
}

/// How far a cell of a control or a measured group is from the group's first.
PairResult pair_of(int cell, const Comparison& c) {
  PairResult pair{cell, c.tokens, c.differing, c.flipped, c.prompts, 0, -1};
  for (const std::int64_t index : c.divergence_index) {
    if (index < 0) continue;
    ++pair.prompts_differing;
    if (pair.earliest < 0 || index < pair.earliest) pair.earliest = index;
  }
  return pair;
}

void add_counts(const Comparison& c, GroupResult& group) {
  group.compared_tokens += c.tokens;
  group.differing += c.differing;
  group.flipped += c.flipped;
  group.divergence_index.insert(group.divergence_index.end(), c.divergence_index.begin(),
                                c.divergence_index.end());
  group.flip_margins.insert(group.flip_margins.end(), c.flip_margins.begin(), c.flip_margins.end());
}

/// Everybody against the group's first cell: counts, and verdicts where bits must be equal.
void compare_pairs(Judging& all, int group_rule, const std::vector<int>& members, bool must_equal,
                   GroupResult& group) {
  const int base = members.front();
  all.compared[std::size_t(base)] = true;
  const Evidence of = all.in.scenario.expect[std::size_t(group_rule)].of;
  std::set<Sha256> results{root_of(all.trace(base), of)};
  std::int64_t flipped = 0;  // of the results counted in comparable_rows
  for (std::size_t m = 1; m < members.size(); ++m) {
    const int i = members[m];
    Comparison c = compare(all.trace(base), all.trace(i), all.in.scenario.min_tokens, of);
    all.compared[std::size_t(i)] = true;
    add_counts(c, group);
    // Equal bits are one result: counting their rows again would count one event many times.
    if (results.insert(root_of(all.trace(i), of)).second) {
      group.comparable_rows += c.tokens;
      flipped += c.flipped;
    }
    if (!c.mistrust.empty() && !c.first) {
      const Judgement doubt{Verdict::mistrusted, Severity::none, c.mistrust};
      all.raise(i, doubt);
      all.raise(base, doubt);
      if (group.judgement.verdict == Verdict::pass) group.judgement = doubt;
    }
    if (!must_equal) {
      group.base = base;
      group.pairs.push_back(pair_of(i, c));
      continue;
    }
    if (!c.first) find_inner_difference(all.trace(base), all.trace(i), c);
    if (c.first) differs(all, i, base, c, group);
  }
  group.flip_rate_bound = rate_upper_bound(flipped, group.comparable_rows);
}

/// Of one operation: where along rows bits change.
void say_first_change(const Judging& all, const std::vector<int>& members, GroupResult& group) {
  if (all.in.scenario.operation.kind == OperationKind::none || group.differing == 0) return;
  const std::string change = first_change(all.in, members);
  std::string& reason = group.judgement.reason;
  if (!change.empty()) reason += (reason.empty() ? "" : "; ") + change;
}

/// differ, differ_all: the control is red where cells are equal that must not be.
void judge_control(Judging& all, Evidence of, const std::vector<int>& members, bool all_pairs,
                   GroupResult& group) {
  bool any_differs = false;
  std::set<int> too_equal;
  std::string doubt;  // equal tokens say nothing of rows
  for (std::size_t a = 0; a < members.size(); ++a) {
    for (std::size_t b = a + 1; b < members.size(); ++b) {
      const CellTrace &one = all.trace(members[a]), &other = all.trace(members[b]);
      if (roots_differ(one, other, of)) {
        any_differs = true;
        continue;
      }
      if (doubt.empty()) doubt = lacks_evidence(one, other, of);
      group.equal_pairs.emplace_back(members[a], members[b]);
      too_equal.insert(members[a]);
      too_equal.insert(members[b]);
    }
  }
  if (all_pairs ? too_equal.empty() : any_differs) return;
  group.judgement = {Verdict::diff, Severity::none,
                     all_pairs ? "control: pairs that must differ are equal"
                               : "control: cells that must differ are all equal"};
  if (!doubt.empty()) group.judgement = {Verdict::mistrusted, Severity::none, doubt};
  for (const int i : too_equal) all.raise(i, group.judgement);
}

/// The bound that a pair exceeds, or empty.
std::string exceeded(const Expectation& rule, const WithinResult& w) {
  const double match = double(w.equal_tokens) / double(w.tokens);
  if (rule.token_match && match < *rule.token_match) return "token match " + std::to_string(match);
  if (rule.max_kl && !(w.max_kl <= *rule.max_kl)) return "KL " + std::to_string(w.max_kl);
  if (rule.max_abs && !(w.max_abs <= *rule.max_abs)) {
    return "distance " + std::to_string(w.max_abs);
  }
  if (rule.max_ulp && w.max_ulp > std::uint64_t(*rule.max_ulp)) {
    return std::to_string(w.max_ulp) + " ULP";
  }
  return "";
}

/// Every pair; cells with equal bits are at no distance.
void judge_within(Judging& all, const Group& group, const std::vector<int>& members,
                  GroupResult& out) {
  const Expectation& rule = all.in.scenario.expect[std::size_t(group.rule)];
  for (const int i : members) all.compared[std::size_t(i)] = true;
  for (std::size_t a = 0; a < members.size(); ++a) {
    for (std::size_t b = a + 1; b < members.size(); ++b) {
      const auto at = all.in.within.find({group.rule, members[a], members[b]});
      const CellTrace &one = all.trace(members[a]), &other = all.trace(members[b]);
      if (const std::string why = lacks_evidence(one, other, Evidence::logits); !why.empty()) {
        const Judgement doubt{Verdict::mistrusted, Severity::none, "no values to compare: " + why};
        all.raise(members[b], doubt);
        if (out.judgement.verdict == Verdict::pass) out.judgement = doubt;
        continue;
      }
      if (at == all.in.within.end() && same_bits(all.cell(members[a]), all.cell(members[b]))) {
        for (const PromptTrace& prompt : all.trace(members[b]).prompts) {
          out.compared_tokens += std::int64_t(prompt.tokens.size());
        }
        continue;
      }
      if (at == all.in.within.end() || !at->second.has_values || at->second.tokens == 0) {
        const Judgement doubt{Verdict::mistrusted, Severity::none, "no values to compare"};
        all.raise(members[b], doubt);
        if (out.judgement.verdict == Verdict::pass) out.judgement = doubt;
        continue;
      }
      out.compared_tokens += at->second.tokens;
      const std::string why = exceeded(rule, at->second);
      if (why.empty()) continue;
      all.raise(members[b], {Verdict::diff, Severity::none,
                             why + " from " + all.name(members[a]) + " exceeds " + rule.text()});
      out.judgement = {Verdict::diff, Severity::none, why};
    }
  }
}

/// An ensemble demands nothing; one that could not be measured says nothing.
void judge_ensemble(const Judging& all, const Group& group, GroupResult& out) {
  const auto none = EnsembleResults{};
  const EnsembleResults& known = all.in.ensembles != nullptr ? *all.in.ensembles : none;
  const auto at = known.find({group.rule, group.cells.front()});
  if (at == known.end() || !at->second.problem.empty()) {
    const std::string why = at == known.end() ? "no values to measure" : at->second.problem;
    out.judgement = {Verdict::mistrusted, Severity::none, why};
    return;
  }
  out.ensemble = at->second.result;
}

}  // namespace

GroupResult judge_group(Judging& all, const Group& group) {
  using Kind = Expectation::Kind;
  const Expectation& rule = all.in.scenario.expect[std::size_t(group.rule)];
  GroupResult out;
  out.rule = rule.text();
  out.key = group.key;
  out.cells = group.cells;
  out.flip_rate_bound = 1;  // until rows were compared
  const std::vector<int> members = comparable(all, group);
  out.compared_cells = std::int64_t(members.size());
  const bool alone = rule.kind == Kind::score && !rule.drop && !rule.rise && members.size() == 1;
  if (members.size() < 2 && !alone) {
    judge_vacuous(all, group, members, out);
    return out;
  }
  if (rule.kind == Kind::within) {
    judge_within(all, group, members, out);
  } else if (rule.kind == Kind::ensemble) {
    compare_pairs(all, group.rule, members, false, out);
    judge_ensemble(all, group, out);
  } else if (rule.kind == Kind::score) {
    judge_score(all, group, members, out);
  } else {
    compare_pairs(all, group.rule, members, rule.kind == Kind::same_bits, out);
    const bool all_pairs = rule.kind == Kind::differ_all;
    if (all_pairs || rule.kind == Kind::differ)
      judge_control(all, rule.of, members, all_pairs, out);
  }
  judge_coverage(all, group, members, out);
  say_first_change(all, members, out);
  say_unselected(group, out);
  return out;
}

}  // namespace isobit::judge_steps
