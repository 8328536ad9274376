// Look-up, rounds of attempts, and the values of `within` pairs.
#include "harness/execute/compute.h"

#include <algorithm>
#include <chrono>
#include <random>

#include "harness/execute/pairs.h"
#include "harness/execute/spill.h"
#include "harness/execute/spill_size.h"
#include "harness/judge/pairs.h"
#include "runtime/base/interrupt.h"

namespace isobit {
namespace {

using State = JudgeCell::State;

/// One call of compute().
class Computation {
 public:
  Computation(const Loaded& loaded, const Plan& plan, const ComputeOptions& options,
              Records& records)
      : loaded_(loaded),
        plan_(plan),
        options_(options),
        records_(records),
        by_value_(needs_values(loaded.scenario, plan.matrix)),
        spills_(options.database) {
    for (const PlannedCell& planned : plan.cells) {
      JudgeCell cell;
      cell.class_hash = planned.class_hash;
      cell.class_recipe = planned.class_recipe;
      cell.wants_golden = !planned.asked_class.empty();
      cell.state_reason = planned.skip_reason;
      if (!planned.skip_reason.empty()) cell.state = State::skipped;
      out_.cells.push_back(std::move(cell));
    }
  }

  Result<Traces> run() {
    if (auto ok = reuse_stored(); !ok) return ok.error();
    if (auto ok = execute_rest(); !ok) return ok.error();
    if (auto ok = measure_within(); !ok) return ok.error();
    if (auto ok = measure_ensembles(); !ok) return ok.error();
    if (auto ok = measure_value_pairs(); !ok) return ok.error();
    return std::move(out_);
  }

 private:
  [[nodiscard]] const Cell& cell_at(int i) const { return plan_.matrix.cells[std::size_t(i)]; }

  /// Takes finished cells with the same execution key from the store; a damaged one is executed
  /// again, and what that gives is found instead of it from then on.
  Result<void> reuse_stored() {
    if (options_.fresh) return {};
    auto found = find_stored(*records_.store, plan_);
    ISOBIT_TRY(found);
    const std::vector<bool> reusable = may_be_reused(loaded_.scenario, plan_.matrix);
    std::vector<std::string> damaged;
    const bool inner_rows = loaded_.scenario.observe != TraceLevel::logits;
    for (std::size_t i = 0; i < out_.cells.size(); ++i) {
      JudgeCell& cell = out_.cells[i];
      const auto& stored = (*found)[i];
      if (!stored || cell.state == State::skipped || !reusable[i]) continue;
      const auto before = options_.compared_with.find(stored->hash);
      if (before != options_.compared_with.end() && before->second == stored->source_date) continue;
      auto reused = records_.store->reuse(records_.cells[i], *stored, inner_rows);
      ISOBIT_TRY(reused);
      if (reused->outcome == Reuse::Outcome::damaged) {
        damaged.push_back(cell_at(int(i)).name() + ": " + reused->damage);
      }
      if (reused->outcome != Reuse::Outcome::taken) continue;  // it is executed
      name_prompts(reused->trace);
      cell.attempts.push_back(std::move(reused->trace));
      cell.state = State::cached;
    }
    note_damage(damaged);
    return {};
  }

  /// A key holds the tokens of the prompts, in order, not what the prompt file calls them and wants
  /// of them now.
  void name_prompts(CellTrace& trace) const {
    const std::vector<Prompt>& now = loaded_.session.prompts;
    for (std::size_t p = 0; p < std::min(trace.prompts.size(), now.size()); ++p) {
      trace.prompts[p].id = now[p].id;
      trace.prompts[p].answer = now[p].answer;
    }
  }

  void note_damage(const std::vector<std::string>& damaged) {
    if (damaged.empty()) return;
    const bool one = damaged.size() == 1;
    std::string note = std::to_string(damaged.size()) +
                       (one ? " stored cell was" : " stored cells were") + " damaged and " +
                       (one ? "was" : "were") + " executed again";
    for (std::size_t i = 0; i < damaged.size(); ++i) note += (i == 0 ? ": " : "; ") + damaged[i];
    records_.run.notes.push_back(std::move(note));
  }

  Result<void> execute_rest() {
    std::vector<int> waiting;
    for (std::size_t i = 0; i < out_.cells.size(); ++i) {
      if (out_.cells[i].state == State::not_run) waiting.push_back(int(i));
    }
    if (waiting.empty()) return {};
    if (options_.shuffle) {
      std::mt19937_64 generator(options_.shuffle_seed);
      std::shuffle(waiting.begin(), waiting.end(), generator);
    }
    note_spills(waiting);
    std::vector<const Cell*> cells;
    for (const int i : waiting) cells.push_back(&cell_at(i));
    auto taught =
        out_.teachers.prepare(loaded_.scenario, loaded_.session, cells, options_.executor);
    ISOBIT_TRY(taught);
    constexpr int kEndless = 1'000'000;
    const int rounds = options_.until_fail ? kEndless : std::max(1, options_.repeat);
    total_ = std::int64_t(waiting.size()) * (options_.until_fail ? 1 : rounds);
    for (int attempt = 1; attempt <= rounds && !out_of_time(); ++attempt) {
      auto all = execute_once(waiting, attempt);
      ISOBIT_TRY(all);
      if (!*all || (options_.until_fail && attempts_differ())) break;
    }
    out_.interrupted = interrupted != 0;
    for (JudgeCell& cell : out_.cells) {
      if (cell.state == State::not_run) {
        cell.state_reason = out_.interrupted ? "interrupted" : "stopped early";
      }
    }
    return {};
  }

  /// Says how much disk the rows by value will take, where that is much.
  void note_spills(const std::vector<int>& waiting) const {
    constexpr double kGibibyte = 1 << 30;
    double bytes = 0;
    for (const int i : waiting) {
      if (!by_value_[std::size_t(i)]) continue;
      const bool inner = needs_pair_values(loaded_.scenario, cell_at(i), true);
      bytes += double(spill_bytes(loaded_.scenario, loaded_.session, cell_at(i), inner));
    }
    if (bytes <= kGibibyte) return;
    char text[80];
    std::snprintf(text, sizeof text, "rows by value took up to %.1f GiB", bytes / kGibibyte);
    records_.run.notes.push_back(std::string(text) + " beside the database while the run went on");
  }

  /// Plans, runs and stores one attempt of every waiting cell; false: stopped early.
  Result<bool> execute_once(const std::vector<int>& waiting, int attempt) {
    std::vector<Job> jobs;
    std::vector<CellInfo> attempts;
    std::vector<JobResult> untaught;
    for (const int i : waiting) {
      attempts.push_back(records_.cells[std::size_t(i)]);
      attempts.back().attempt = attempt;
      if (const std::string why = out_.teachers.failure_of(cell_at(i)); !why.empty()) {
        untaught.push_back(refused(i, attempt, why));
        continue;
      }
      Job job;
      job.id = i;
      job.attempt = attempt;
      job.cell = &cell_at(i);
      job.teacher = out_.teachers.of(*job.cell);
      if (by_value_[std::size_t(i)] && attempt == 1) {
        auto spill = spills_.path(i);
        ISOBIT_TRY(spill);
        job.spill = std::move(*spill);
        job.values = needs_pair_values(loaded_.scenario, *job.cell, true);
      }
      jobs.push_back(std::move(job));
    }
    if (attempt > 1) {
      if (auto ok = records_.store->plan(attempts); !ok) return ok.error();
    }
    std::map<int, CellInfo*> record_of;
    for (std::size_t i = 0; i < waiting.size(); ++i) record_of[waiting[i]] = &attempts[i];
    std::optional<Error> lost;
    const auto take = [&](JobResult&& result) {
      CellInfo& record = *record_of.at(result.id);
      refuse_other_model(result);
      if (auto ok = records_.store->finish(record, result.trace); !ok) {
        lost = ok.error();
        return false;
      }
      return keep(std::move(result), record);
    };
    for (JobResult& result : untaught) {
      if (take(std::move(result))) continue;
      if (lost) return *lost;
      return false;
    }
    auto all = execute(loaded_.scenario, loaded_.session, jobs, options_.executor, take);
    ISOBIT_TRY(all);
    if (lost) return *lost;
    return *all;
  }

  /// The result of a cell that cannot run.
  static JobResult refused(int id, int attempt, const std::string& why) {
    JobResult result;
    result.id = id;
    result.attempt = attempt;
    result.trace.status = CellStatus::failed;
    result.trace.reason = why;
    return result;
  }

  /// A file that was written to in place gives other bits than those that the key stands for. The
  /// file tells no earlier than it is written to, so what is asked after a cell holds for it.
  void refuse_other_model(JobResult& result) const {
    const std::string why = model_changed(loaded_.session.of(cell_at(result.id)));
    if (why.empty()) return;
    result.trace = CellTrace{};
    result.trace.status = CellStatus::failed;
    result.trace.reason = why;
    result.captured.clear();
  }

  /// False: enough, stop.
  bool keep(JobResult&& result, const CellInfo& record) {
    if (result.attempt == 1) records_.cells[std::size_t(result.id)] = record;
    failed_ += result.trace.status == CellStatus::ok ? 0 : 1;
    JudgeCell& cell = out_.cells[std::size_t(result.id)];
    cell.state = State::executed;
    cell.attempts.push_back(std::move(result.trace));
    ++done_;
    if (options_.progress) options_.progress(total_, done_, failed_, cell_at(result.id).name());
    return !out_of_time() && (options_.max_fail == 0 || failed_ < options_.max_fail);
  }

  bool out_of_time() {
    const double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - options_.started).count();
    if (options_.max_seconds > 0 && seconds > options_.max_seconds) out_.out_of_time = true;
    return out_.out_of_time;
  }

  [[nodiscard]] bool attempts_differ() const {
    return std::any_of(out_.cells.begin(), out_.cells.end(), [](const JudgeCell& cell) {
      return cell.attempts.size() > 1 &&
             cell_root(cell.attempts.back()) != cell_root(cell.attempts.front());
    });
  }

  /// Values of every pair of a `within` group whose bits differ.
  Result<void> measure_within() {
    for (const Group& group : groups_of(loaded_.scenario, plan_.matrix)) {
      const Expectation& rule = loaded_.scenario.expect[std::size_t(group.rule)];
      if (rule.kind != Expectation::Kind::within) continue;
      std::vector<int> ran;
      for (const int i : group.cells) {
        const JudgeCell& cell = out_.cells[std::size_t(i)];
        if (cell.state == State::executed && is_comparable(cell, true)) ran.push_back(i);
      }
      for (std::size_t a = 0; a < ran.size(); ++a) {
        for (std::size_t b = a + 1; b < ran.size(); ++b) {
          if (interrupted != 0) {
            out_.interrupted = true;
            return {};
          }
          if (auto ok = measure_pair(group.rule, ran[a], ran[b]); !ok) return ok;
        }
      }
    }
    return {};
  }

  Result<void> measure_pair(int rule, int a, int b) {
    if (same_bits(out_.cells[std::size_t(a)], out_.cells[std::size_t(b)])) return {};
    const bool wide = cell_at(a).value("precision") == "fp64";
    if (wide != (cell_at(b).value("precision") == "fp64")) return {};  // rows of two types
    const auto rows_a = spills_.path(a), rows_b = spills_.path(b);
    ISOBIT_TRY(rows_a);
    ISOBIT_TRY(rows_b);
    auto result = compare_spills(*rows_a, *rows_b, wide);
    ISOBIT_TRY(result);
    out_.within[{rule, a, b}] = *result;
    return {};
  }

  Result<void> measure_ensembles() {
    for (const Group& group : groups_of(loaded_.scenario, plan_.matrix)) {
      const Expectation& rule = loaded_.scenario.expect[std::size_t(group.rule)];
      if (rule.kind != Expectation::Kind::ensemble) continue;
      if (interrupted != 0) {
        out_.interrupted = true;
        return {};
      }
      std::vector<int> ran;
      for (const int i : group.cells) {
        const JudgeCell& cell = out_.cells[std::size_t(i)];
        if (cell.state == State::executed && is_comparable(cell, true)) ran.push_back(i);
      }
      if (ran.size() < 2) continue;
      auto measured = measure_ensemble(rule, ran);
      ISOBIT_TRY(measured);
      out_.ensembles[{group.rule, group.cells.front()}] = std::move(*measured);
    }
    return {};
  }

  /// The cells of a group by their weights and by their other axes of `across`.
  Result<Measured> measure_ensemble(const Expectation& rule, const std::vector<int>& ran) {
    std::vector<std::string> weights, configurations;
    const auto number = [](std::vector<std::string>& known, const std::string& text) {
      const auto at = std::find(known.begin(), known.end(), text);
      if (at != known.end()) return int(at - known.begin());
      known.push_back(text);
      return int(known.size()) - 1;
    };
    Measured out;
    std::vector<SpilledMember> members;
    for (const int i : ran) {
      std::string others;
      for (const std::string& axis : rule.across) {
        if (axis != "weights") others += cell_at(i).value(axis) + "/";
      }
      auto rows = spills_.path(i);
      ISOBIT_TRY(rows);
      if (out_.cells[std::size_t(i)].attempts.front().observed.evidence !=
          name_of(Evidence::logits)) {
        out.problem = cell_at(i).name() + " gave no rows of logits";
        return out;
      }
      members.push_back(
          {{number(weights, cell_at(i).value("weights")), number(configurations, others)},
           std::move(*rows),
           cell_at(i).value("precision") == "fp64"});
      if (fed_tokens(i) == fed_tokens(ran.front())) continue;
      out.problem = cell_at(i).name() + " was fed other tokens than " + cell_at(ran.front()).name();
      return out;
    }
    auto result = measure_spills(members, fed_tokens(ran.front()), rule.bins);
    if (!result && interrupted != 0) {
      out_.interrupted = true;
      return out;
    }
    ISOBIT_TRY(result);
    out.result = std::move(*result);
    // The ensemble has the members that ran in the first configuration, in order of their numbers.
    for (std::size_t m = 0, k = 0; m < weights.size() && k < out.result.alone.size(); ++m) {
      const bool there =
          std::any_of(members.begin(), members.end(), [&](const SpilledMember& each) {
            return each.cell.member == int(m) && each.cell.configuration == 0;
          });
      if (there) out.result.alone[k++].weights = weights[m];
    }
    const std::size_t lost = weights.size() - out.result.alone.size();
    if (lost > 0) {
      out.problem = std::to_string(lost) + " of " + std::to_string(weights.size()) +
                    " members have no result in the first configuration";
    }
    if (out.result.targets == 0) out.problem = "there is no target: nothing was fed";
    return out;
  }

  /// The rows of every pair of a measured group, and of the pairs that must be equal.
  Result<void> measure_value_pairs() {
    for (const Group& group : measured_groups(loaded_.scenario, plan_.matrix)) {
      const Measure& measure = loaded_.scenario.measures[std::size_t(group.rule)];
      for (const auto& [a, b] : value_pairs(measure, group, plan_.matrix, out_.cells)) {
        if (interrupted != 0) {
          out_.interrupted = true;
          return {};
        }
        if (out_.pairs.count({a, b}) != 0) continue;
        const auto rows_a = spills_.path(a), rows_b = spills_.path(b);
        ISOBIT_TRY(rows_a);
        ISOBIT_TRY(rows_b);
        auto values = measure_rows(
            spilled(a, *rows_a), spilled(b, *rows_b),
            loaded_.session.of(plan_.matrix.cells[std::size_t(a)]).model.config.head_dim);
        ISOBIT_TRY(values);
        out_.pairs[{a, b}] = std::move(*values);
      }
    }
    return {};
  }

  [[nodiscard]] SpilledCell spilled(int i, const std::string& rows) const {
    return {cell_at(i).name(), out_.cells[std::size_t(i)].attempts.front(), rows,
            cell_at(i).value("precision") == "fp64"};
  }

  /// What every prompt of a cell was fed behind each recorded row: its targets.
  [[nodiscard]] std::vector<SpillTarget> fed_tokens(int i) const {
    std::vector<SpillTarget> out;
    const CellTrace& trace = out_.cells[std::size_t(i)].attempts.front();
    for (std::size_t p = 0; p < trace.prompts.size(); ++p) {
      for (const TokenRecord& token : trace.prompts[p].tokens) {
        if (token.fed >= 0) out.push_back({int(p), token.position, token.fed});
      }
    }
    return out;
  }

  const Loaded& loaded_;
  const Plan& plan_;
  const ComputeOptions& options_;
  Records& records_;
  std::vector<bool> by_value_;
  SpillFolder spills_;
  std::int64_t total_ = 0, done_ = 0, failed_ = 0;
  Traces out_;
};

}  // namespace

Result<std::vector<std::optional<CellInfo>>> find_stored(Store& store, const Plan& plan) {
  std::vector<Sha256> keys;
  for (const PlannedCell& cell : plan.cells) keys.push_back(cell.key);
  return store.find(keys);
}

Result<Traces> compute(const Loaded& loaded, const Plan& plan, const ComputeOptions& options,
                       Records& records) {
  return Computation(loaded, plan, options, records).run();
}

}  // namespace isobit
