// Groups, goldens and expected failures. Every comparison is made once; the gravest verdict stays.

#include "harness/judge/judge.h"

#include <algorithm>
#include <set>

namespace isobit {
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

void raise(Judgement& judgement, const Judgement& next) {
  if (gravity(next.verdict) > gravity(judgement.verdict)) judgement = next;
}

class Judge {
 public:
  Judge(const JudgeInput& input, std::vector<JudgedCell>& cells)
      : in_(input), cells_(cells), letters_(class_letters(cells)), compared_(cells.size()) {}

  JudgeOutput run() {
    const std::vector<Group> groups = groups_of(*in_.scenario, *in_.matrix);
    for (const Group& group : groups) {
      const Expectation& rule = in_.scenario->expect[std::size_t(group.rule)];
      if (rule.kind != Expectation::Kind::same_bits) continue;
      strict_.insert(group.cells.begin(), group.cells.end());
    }
    for (std::size_t i = 0; i < cells_.size(); ++i) alone(i);
    for (const Group& group : groups) judge_group(group);
    if (in_.golden != nullptr) judge_goldens();
    for (std::size_t i = 0; i < cells_.size(); ++i) {
      JudgedCell& cell = cells_[i];
      if (cell.has_trace() && !compared_[i] && cell.judgement.verdict == Verdict::pass) {
        cell.judgement = {Verdict::mistrusted, Severity::none, "vacuous: compared with nothing"};
      }
      expected_failure(cell);
    }
    return std::move(out_);
  }

 private:
  void alone(std::size_t index) {
    JudgedCell& cell = cells_[index];
    if (cell.state == JudgedCell::State::skipped) {
      cell.judgement = {Verdict::skip, Severity::none, cell.state_reason};
      return;
    }
    if (!cell.has_trace()) {
      cell.judgement = {Verdict::not_run, Severity::none, cell.state_reason};
      return;
    }
    for (const CellTrace& trace : cell.attempts) {
      switch (trace.status) {
        case CellStatus::ok:
          break;
        case CellStatus::recomputed_differs:
          if (strict_.count(int(index)) != 0) {
            raise(cell.judgement, {Verdict::diff, Severity::none, "recomputed: " + trace.reason});
            continue;
          }
          // A control: the engine depends on the place in the batch, which is what is asked.
          out_.notes.push_back(cell.cell->name() + ": " + trace.reason);
          break;
        default:
          raise(cell.judgement, {Verdict::fail, Severity::none, trace.reason});
          continue;
      }
      raise(cell.judgement, check_observed(cell.cell->requested(), trace));
      raise(cell.judgement, check_complete(*in_.scenario, *cell.cell, trace, in_.eos));
    }
    for (std::size_t i = 1; i < cell.attempts.size(); ++i) {
      if (cell_root(cell.attempts[i]) == cell_root(cell.attempts[0])) continue;
      const Comparison c = compare(cell.attempts[0], cell.attempts[i]);
      raise(cell.judgement, {Verdict::nondet, c.severity,
                             "attempt " + std::to_string(i + 1) + " differs from the first"});
      if (c.first) note_divergence(cell, *c.first, c, cell.cell->name() + " again", -1);
    }
  }

  /// Cells of a group whose traces can be compared.
  std::vector<int> usable(const Group& group) const {
    std::vector<int> out;
    for (const int i : group.cells) {
      const JudgedCell& cell = cells_[std::size_t(i)];
      if (!cell.has_trace()) continue;
      const CellStatus status = cell.attempts.front().status;
      const bool control = status == CellStatus::recomputed_differs && strict_.count(i) == 0;
      if (status == CellStatus::ok || control) out.push_back(i);
    }
    return out;
  }

  void judge_group(const Group& group) {
    const Expectation& rule = in_.scenario->expect[std::size_t(group.rule)];
    ReportGroup report;
    report.rule = rule.text();
    report.key = group.key;
    for (const int i : group.cells) {
      report.cells.push_back(in_.matrix->cells[std::size_t(i)].name());
      report.classes += letters_[std::size_t(i)];
    }
    const std::vector<int> members = usable(group);
    if (members.size() < 2) {
      vacuous(group, members, report);
    } else if (rule.kind == Expectation::Kind::within) {
      judge_within(group, rule, members, report);
    } else {
      compare_pairs(members, rule.kind == Expectation::Kind::same_bits, report);
      const bool all_pairs = rule.kind == Expectation::Kind::differ_all;
      if (all_pairs || rule.kind == Expectation::Kind::differ) {
        judge_control(members, all_pairs, report);
      }
    }
    report.flip_rate_bound = rate_upper_bound(report.flipped, report.comparable_rows);
    out_.tokens_compared += report.compared_tokens;
    out_.groups.push_back(std::move(report));
  }

  void vacuous(const Group& group, const std::vector<int>& members, ReportGroup& report) {
    const bool none_ran = std::all_of(group.cells.begin(), group.cells.end(), [&](int i) {
      return cells_[std::size_t(i)].state == JudgedCell::State::skipped;
    });
    const bool waiting = std::any_of(group.cells.begin(), group.cells.end(), [&](int i) {
      return cells_[std::size_t(i)].state == JudgedCell::State::not_run;
    });
    report.verdict = none_ran ? Verdict::skip : Verdict::mistrusted;
    report.reason =
        none_ran ? "every cell was skipped" : "vacuous: fewer than two cells of the group ran";
    if (waiting && members.size() <= 1 && !in_.filtered) report.verdict = Verdict::not_run;
    if (report.verdict != Verdict::mistrusted) {
      for (const int i : members) compared_[std::size_t(i)] = true;
      return;
    }
    for (const int i : members) {
      raise(cells_[std::size_t(i)].judgement, {Verdict::mistrusted, Severity::none, report.reason});
    }
  }

  /// Everybody against the group's first cell: counts, and verdicts where bits must be equal.
  void compare_pairs(const std::vector<int>& members, bool must_equal, ReportGroup& report) {
    const int base = members.front();
    compared_[std::size_t(base)] = true;
    for (std::size_t m = 1; m < members.size(); ++m) {
      JudgedCell& cell = cells_[std::size_t(members[m])];
      const CellTrace& mine = cell.attempts.front();
      const CellTrace& reference = cells_[std::size_t(base)].attempts.front();
      Comparison c = compare(reference, mine);
      compared_[std::size_t(members[m])] = true;
      report.compared_tokens += c.tokens;
      report.differing += c.differing;
      report.flipped += c.flipped;
      report.comparable_rows += c.tokens;  // rows whose inputs were equal
      report.divergence_index.insert(report.divergence_index.end(), c.divergence_index.begin(),
                                     c.divergence_index.end());
      report.flip_margins.insert(report.flip_margins.end(), c.flip_margins.begin(),
                                 c.flip_margins.end());
      if (!c.mistrust.empty() && !c.first) {
        const Judgement doubt{Verdict::mistrusted, Severity::none, c.mistrust};
        raise(cell.judgement, doubt);
        raise(cells_[std::size_t(base)].judgement, doubt);
        if (report.verdict == Verdict::pass) report.verdict = Verdict::mistrusted;
        report.reason = c.mistrust;
      }
      if (!must_equal) {
        report.base = cells_[std::size_t(base)].cell->name();
        report.pairs.push_back(pair_of(cell, c));
        continue;
      }
      if (!c.first) inner_difference(reference, mine, c);
      if (c.first) differs(cell, c, base, report);
    }
  }

  /// How far a cell of a control or a measured group is from the group's first.
  static ReportPair pair_of(const JudgedCell& cell, const Comparison& c) {
    ReportPair pair{cell.cell->name(), c.tokens, c.differing, c.flipped, c.prompts, 0, -1};
    for (const std::int64_t index : c.divergence_index) {
      if (index < 0) continue;
      ++pair.prompts_differing;
      if (pair.earliest < 0 || index < pair.earliest) pair.earliest = index;
    }
    return pair;
  }

  /// Logits agree; do recorded layers and operations too?
  static void inner_difference(const CellTrace& a, const CellTrace& b, Comparison& c) {
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

  void differs(JudgedCell& cell, const Comparison& c, int base, ReportGroup& report) {
    const std::string against = cells_[std::size_t(base)].cell->name();
    raise(cell.judgement, {Verdict::diff, c.severity,
                           "differs from " + against + " at prompt " + c.first->prompt_id +
                               ", position " + std::to_string(c.first->position)});
    note_divergence(cell, *c.first, c, against, base);
    const CellTrace& a = cells_[std::size_t(base)].attempts.front();
    const CellTrace& b = cell.attempts.front();
    const auto p = std::size_t(c.first->prompt);
    if (p < a.prompts.size() && p < b.prompts.size()) {
      if (const auto where = localise(a.prompts[p], b.prompts[p])) {
        cell.divergence.layer_site = "position " + std::to_string(where->position) + ", layer " +
                                     std::to_string(where->layer) + ", " + name_of(where->site);
      }
    }
    report.verdict = Verdict::diff;
    report.reason = "bits differ";
  }

  static void note_divergence(JudgedCell& cell, const Divergence& first, const Comparison& c,
                              const std::string& against, int base) {
    if (cell.divergence.present) return;
    ReportDivergence& d = cell.divergence;
    d.present = true;
    d.against = against;
    d.prompt_id = first.prompt_id;
    d.position = first.position;
    d.index = first.index;
    d.id_a = first.id_a;
    d.id_b = first.id_b;
    d.digest_a = to_hex(first.a);
    d.digest_b = to_hex(first.b);
    d.margin = double(first.margin_a);
    d.differing = c.differing;
    d.tokens = c.tokens;
    d.flipped = c.flipped;
    cell.against = base;
    cell.first = first;
  }

  void judge_control(const std::vector<int>& members, bool all_pairs, ReportGroup& report) {
    bool any_differs = false;
    std::set<int> too_equal;
    for (std::size_t a = 0; a < members.size(); ++a) {
      for (std::size_t b = a + 1; b < members.size(); ++b) {
        if (letters_[std::size_t(members[a])] != letters_[std::size_t(members[b])]) {
          any_differs = true;
          continue;
        }
        report.equal_pairs.push_back(cells_[std::size_t(members[a])].cell->name() + " = " +
                                     cells_[std::size_t(members[b])].cell->name());
        too_equal.insert(members[a]);
        too_equal.insert(members[b]);
      }
    }
    if (all_pairs ? too_equal.empty() : any_differs) return;
    report.verdict = Verdict::diff;
    report.reason = all_pairs ? "control: pairs that must differ are equal"
                              : "control: cells that must differ are all equal";
    for (const int i : too_equal) {
      raise(cells_[std::size_t(i)].judgement, {Verdict::diff, Severity::none, report.reason});
    }
  }

  void judge_within(const Group& group, const Expectation& rule, const std::vector<int>& members,
                    ReportGroup& report) {
    const int base = members.front();
    compared_[std::size_t(base)] = true;
    for (std::size_t m = 1; m < members.size(); ++m) {
      compared_[std::size_t(members[m])] = true;
      JudgedCell& cell = cells_[std::size_t(members[m])];
      const auto at = in_.within.find({group.rule, base, members[m]});
      if (at == in_.within.end() || !at->second.has_values || at->second.tokens == 0) {
        raise(cell.judgement, {Verdict::mistrusted, Severity::none, "no values to compare"});
        report.verdict = Verdict::mistrusted;
        continue;
      }
      const WithinResult& w = at->second;
      report.compared_tokens += w.tokens;
      const double match = double(w.equal_tokens) / double(w.tokens);
      std::string why;
      if (rule.token_match && match < *rule.token_match) {
        why = "token match " + std::to_string(match);
      } else if (rule.max_kl && !(w.max_kl <= *rule.max_kl)) {
        why = "KL " + std::to_string(w.max_kl);
      } else if (rule.max_abs && !(w.max_abs <= *rule.max_abs)) {
        why = "distance " + std::to_string(w.max_abs);
      } else if (rule.max_ulp && w.max_ulp > std::uint64_t(*rule.max_ulp)) {
        why = std::to_string(w.max_ulp) + " ULP";
      }
      if (why.empty()) continue;
      raise(cell.judgement, {Verdict::diff, Severity::none, why + " exceeds " + rule.text()});
      report.verdict = Verdict::diff;
      report.reason = why;
    }
  }

  void judge_goldens() {
    std::set<GoldenKey> produced;
    for (std::size_t i = 0; i < cells_.size(); ++i) {
      JudgedCell& cell = cells_[i];
      if (cell.class_hash.empty() || !cell.has_trace()) continue;
      if (cell.attempts.front().status != CellStatus::ok) continue;
      for (const PromptTrace& prompt : cell.attempts.front().prompts) {
        const GoldenKey key{cell.class_hash, to_hex(prompt.tokens_digest)};
        produced.insert(key);
        judge_golden(i, prompt, key);
      }
    }
    if (in_.filtered) return;
    const bool all_ran = std::all_of(cells_.begin(), cells_.end(), [](const JudgedCell& c) {
      return c.has_trace() || c.state == JudgedCell::State::skipped;
    });
    for (const auto& [key, block] : in_.golden->blocks) {
      if (!all_ran || produced.count(key) != 0 || stale_sources_.count(key) != 0) continue;
      ++out_.obsolete;
      out_.notes.push_back("OBSOLETE golden " + block.block_hash() + " of prompt " +
                           block.prompt_id + ": no cell of the scenario produces it");
    }
  }

  void judge_golden(std::size_t index, const PromptTrace& prompt, const GoldenKey& key) {
    JudgedCell& cell = cells_[index];
    const GoldenBlock* block = in_.golden->find(key);
    const auto stale = block == nullptr ? in_.golden->stale(cell.class_recipe, prompt.id)
                                        : std::optional<GoldenFile::Stale>{};
    if (stale) {
      stale_sources_.insert(stale->block->key);
      std::string changed;
      for (const std::string& line : stale->changed)
        changed += (changed.empty() ? "" : "; ") + line;
      const bool equal = !compare(prompt, *stale->block).first;
      raise(cell.judgement,
            {Verdict::stale, Severity::none,
             std::string("stale, bits ") + (equal ? "equal" : "differ") + " (" + changed + ")"});
      return;
    }
    if (block == nullptr) {
      const LedgerEntry* last = in_.golden->last_entry(key);
      raise(cell.judgement,
            {Verdict::nogold, Severity::none,
             "no golden for prompt " + prompt.id +
                 (last == nullptr ? std::string()
                                  : "; the ledger's last one is " + last->block_hash)});
      return;
    }
    const Comparison c = compare(prompt, *block);
    compared_[index] = true;
    out_.tokens_compared += c.tokens;
    if (!c.first) {
      if (!c.mistrust.empty()) {
        raise(cell.judgement, {Verdict::mistrusted, Severity::none, c.mistrust});
      }
      return;
    }
    raise(cell.judgement, {Verdict::diff, c.severity,
                           "differs from the golden at prompt " + prompt.id + ", position " +
                               std::to_string(c.first->position)});
    note_divergence(cell, *c.first, c, "golden", -1);
  }

  void expected_failure(JudgedCell& cell) {
    const Verdict v = cell.judgement.verdict;
    if (v == Verdict::skip || v == Verdict::not_run) return;
    for (const ExpectedFailure& expected : in_.scenario->xfail) {
      if (!expected.where.matches(cell.cell->subject())) continue;
      if (!expected.until.empty() && expected.until < in_.today) {
        out_.xfail_expired = true;
        out_.notes.push_back(expected.place + ": xfail expired on " + expected.until);
        return;
      }
      const bool failed = v == Verdict::diff || v == Verdict::fail || v == Verdict::nondet;
      if (failed) {
        cell.judgement.verdict = Verdict::xfail;
        cell.judgement.reason = expected.reason + " (" + cell.judgement.reason + ")";
      } else if (v == Verdict::pass) {
        cell.judgement = {Verdict::xpass, Severity::none, "expected to fail: " + expected.reason};
      }
      return;
    }
  }

  const JudgeInput& in_;
  std::vector<JudgedCell>& cells_;
  std::vector<std::string> letters_;
  std::vector<bool> compared_;
  std::set<int> strict_;  // cells under a same_bits rule
  std::set<GoldenKey> stale_sources_;
  JudgeOutput out_;
};

}  // namespace

JudgeOutput judge(const JudgeInput& input, std::vector<JudgedCell>& cells) {
  return Judge(input, cells).run();
}

std::vector<std::string> class_letters(const std::vector<JudgedCell>& cells) {
  static const std::string kLetters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
  std::map<Sha256, std::size_t> seen;
  std::vector<std::string> out;
  for (const JudgedCell& cell : cells) {
    const bool complete =
        cell.has_trace() && (cell.attempts.front().status == CellStatus::ok ||
                             cell.attempts.front().status == CellStatus::recomputed_differs);
    if (!complete) {
      out.emplace_back(cell.has_trace() ? "!" : "-");
      continue;
    }
    const auto [at, fresh] = seen.emplace(cell_root(cell.attempts.front()), seen.size());
    out.push_back(at->second < kLetters.size() ? kLetters.substr(at->second, 1)
                                               : "(" + std::to_string(at->second) + ")");
  }
  return out;
}

}  // namespace isobit
