// Cells by themselves, expected failures, and the order of the steps. Every comparison is made
// once; the gravest verdict stays.
#include "harness/judge/judge.h"

#include <algorithm>

#include "harness/judge/scores.h"
#include "harness/judge/steps.h"

namespace isobit {
namespace judge_steps {
namespace {

int gravity(Verdict verdict) {
  switch (verdict) {
    case Verdict::fail:
      return 7;
    case Verdict::nondet:
      return 6;
    case Verdict::diff:
      return 5;
    case Verdict::mistrusted:
      return 4;
    case Verdict::stale:
      return 3;
    case Verdict::nogold:
      return 2;
    case Verdict::pass:
      return 0;
    default:
      return 1;
  }
}

/// What one execution says of the cell.
void judge_attempt(Judging& all, int i, const CellTrace& trace) {
  const Cell& cell = all.in.matrix.cells[std::size_t(i)];
  if (trace.status == CellStatus::recomputed_differs) {
    if (all.strict.count(i) != 0) {
      all.raise(i, {Verdict::diff, Severity::none, "recomputed: " + trace.reason});
      return;
    }
    // A control: the engine depends on the place in the batch, which is what is asked.
    all.out.notes.push_back(cell.name() + ": " + trace.reason);
  } else if (trace.status != CellStatus::ok) {
    all.raise(i, {Verdict::fail, Severity::none, trace.reason});
    return;
  }
  // Of an imported trace nothing was observed here: what ran is its recorder's word.
  if (trace.observed.imported.empty()) {
    const bool asks_about_cache =
        std::count(cell.named_axes.begin(), cell.named_axes.end(), "cache") != 0;
    GenerateRequest asked = cell.requested();
    asked.operation.kind = all.in.scenario.operation.kind;
    all.raise(i, check_observed(asked, trace, asks_about_cache));
    all.raise(i, check_library(all.cell(i).class_recipe, trace));
  }
  const auto eos = all.in.eos.find(cell.value("model"));
  all.raise(i, check_complete(all.in.scenario, cell, trace,
                              eos == all.in.eos.end() ? std::vector<std::int32_t>{} : eos->second));
}

void judge_alone(Judging& all, int i, Scores& scores) {
  const JudgeCell& cell = all.cell(i);
  if (!cell.has_trace()) {
    const bool skipped = cell.state == JudgeCell::State::skipped;
    all.result(i).judgement = {skipped ? Verdict::skip : Verdict::not_run, Severity::none,
                               cell.state_reason};
    return;
  }
  for (const CellTrace& trace : cell.attempts) judge_attempt(all, i, trace);
  score_cell(all, i, scores);
  if (all.in.repeats_suffice && cell.attempts.size() > 1) all.compared[std::size_t(i)] = true;
  for (std::size_t a = 1; a < cell.attempts.size(); ++a) {
    if (cell_root(cell.attempts[a]) == cell_root(cell.attempts[0])) continue;
    const Comparison c = compare(cell.attempts[0], cell.attempts[a]);
    all.raise(i, {Verdict::nondet, c.severity,
                  "attempt " + std::to_string(a + 1) + " differs from the first"});
    if (c.first) all.note_difference(i, c, all.name(i) + " again", -1);
  }
}

/// Patches that were none: the donor's rows had the bits of the cell's own.
void note_identities(Judging& all) {
  constexpr std::size_t kMostNamed = 5;
  std::vector<std::string> names;
  for (std::size_t i = 0; i < all.in.cells.size(); ++i) {
    const auto& attempts = all.in.cells[i].attempts;
    if (attempts.empty() || !attempts.front().observed.patch_identity) continue;
    names.push_back(all.in.matrix.cells[i].name());
  }
  if (names.empty()) return;
  std::string note =
      std::to_string(names.size()) +
      (names.size() == 1 ? " patched cell is an identity" : " patched cells are identities") +
      ": every row that was put in had the very bits: ";
  for (std::size_t i = 0; i < std::min(names.size(), kMostNamed); ++i) {
    note += (i == 0 ? "" : ", ") + names[i];
  }
  all.out.notes.push_back(note + (names.size() > kMostNamed ? ", …" : ""));
}

/// An execution that nothing was compared with proves nothing; a recording of another machine's is
/// kept for what is executed here later.
Judgement compared_with_nothing(const CellTrace& trace) {
  if (trace.observed.imported.empty()) {
    return {Verdict::mistrusted, Severity::none, "vacuous: compared with nothing"};
  }
  return {Verdict::nogold, Severity::none,
          "nothing here to compare it with; it can be a baseline (`check --baseline RUN`)"};
}

void expect_failure(Judging& all, int i) {
  Judgement& judgement = all.result(i).judgement;
  const Verdict v = judgement.verdict;
  if (v == Verdict::skip || v == Verdict::not_run) return;
  const ExpectedFailure* unmet = nullptr;  // it expects a failure that did not come
  for (const ExpectedFailure& expected : all.in.scenario.xfail) {
    if (!expected.where.matches(all.in.matrix.cells[std::size_t(i)].subject())) continue;
    if (!expected.until.empty() && expected.until < all.in.today) {
      all.out.xfail_expired = true;
      all.out.notes.push_back(expected.place + ": xfail expired on " + expected.until);
      return;
    }
    if (name_of(v) == expected.verdict) {
      judgement.verdict = Verdict::xfail;
      judgement.reason = expected.reason + " (" + judgement.reason + ")";
      return;
    }
    // Attempts that agree do not show that later ones will.
    if (expected.verdict != name_of(Verdict::nondet)) unmet = &expected;
  }
  if (unmet != nullptr && v == Verdict::pass) {
    judgement = {Verdict::xpass, Severity::none, "expected to fail: " + unmet->reason};
  }
}

/// A group whose every bad cell was expected to be bad is no failure of its own.
void expect_failures(Judging& all, GroupResult& group) {
  const bool bad = group.judgement.verdict == Verdict::diff ||
                   group.judgement.verdict == Verdict::nondet ||
                   group.judgement.verdict == Verdict::mistrusted;
  if (!bad) return;
  bool expected = false;
  for (const int i : group.cells) {
    const Verdict v = all.result(i).judgement.verdict;
    expected |= v == Verdict::xfail;
    if (v == Verdict::xpass || gravity(v) > gravity(Verdict::stale)) return;
  }
  if (!expected) return;
  group.judgement.reason = "expected: " + group.judgement.reason;
  group.judgement.verdict = Verdict::xfail;
}

}  // namespace

void Judging::raise(int i, const Judgement& next) {
  Judgement& judgement = result(i).judgement;
  if (gravity(next.verdict) > gravity(judgement.verdict)) judgement = next;
}

void Judging::note_difference(int i, const Comparison& c, const std::string& against, int base) {
  CellResult& mine = result(i);
  if (mine.difference.present) return;
  Difference& d = mine.difference;
  d.present = true;
  d.against = against;
  d.prompt_id = c.first->prompt_id;
  d.position = c.first->position;
  d.index = c.first->index;
  d.id_a = c.first->id_a;
  d.id_b = c.first->id_b;
  d.digest_a = to_hex(c.first->a);
  d.digest_b = to_hex(c.first->b);
  d.margin = double(c.first->margin_a);
  d.differing = c.differing;
  d.tokens = c.tokens;
  d.flipped = c.flipped;
  mine.against = base;
  mine.first = *c.first;
}

}  // namespace judge_steps

Judged judge(const JudgeInput& input) {
  judge_steps::Judging all(input);
  const std::vector<Group> groups = groups_of(input.scenario, input.matrix);
  for (const Group& group : groups) {
    const Expectation& rule = input.scenario.expect[std::size_t(group.rule)];
    if (rule.kind != Expectation::Kind::same_bits) continue;
    all.strict.insert(group.cells.begin(), group.cells.end());
  }
  const int cells = int(input.cells.size());
  judge_steps::Scores scores;
  for (int i = 0; i < cells; ++i) judge_steps::judge_alone(all, i, scores);
  judge_steps::compare_scores(all, groups, scores);
  judge_steps::note_identities(all);
  for (const Group& group : groups) {
    if (all.stopped()) break;
    all.out.groups.push_back(judge_steps::judge_group(all, group));
    all.out.tokens_compared += all.out.groups.back().compared_tokens;
  }
  if (input.golden != nullptr) judge_steps::judge_goldens(all);
  if (input.baseline != nullptr) judge_steps::judge_baseline(all);
  if (!all.stopped()) all.out.measured = judge_steps::measure_groups(all);
  for (int i = 0; i < cells; ++i) {
    const bool compared = all.compared[std::size_t(i)] || !all.cell(i).has_trace();
    if (all.result(i).judgement.verdict == Verdict::pass && !compared) {
      all.raise(i, judge_steps::compared_with_nothing(all.trace(i)));
    }
    judge_steps::expect_failure(all, i);
  }
  for (GroupResult& group : all.out.groups) judge_steps::expect_failures(all, group);
  judge_steps::note_sign_tests(all, groups);
  all.out.stopped = all.stopped();
  return std::move(all.out);
}

bool same_bits(const JudgeCell& a, const JudgeCell& b) {
  return cell_root(a.attempts.front()) == cell_root(b.attempts.front());
}

bool is_comparable(const JudgeCell& cell, bool strict) {
  if (!cell.has_trace()) return false;
  const CellStatus status = cell.attempts.front().status;
  return status == CellStatus::ok || (status == CellStatus::recomputed_differs && !strict);
}

}  // namespace isobit
