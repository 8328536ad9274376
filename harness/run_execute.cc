// Steps that compute: teachers, cells, values of `within` pairs, rows around divergences.

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <random>

#include "harness/run_steps.h"
#include "runtime/base/interrupt.h"

namespace isobit {
namespace {

constexpr int kMostExplained = 8;  // cells whose first difference is recomputed by value

ExecutorOptions executor_options(const ScenarioRun& run) {
  ExecutorOptions options = run.options->sabotage;
  options.jobs = run.options->jobs;
  options.isolate = run.options->isolate;
  options.cell_seconds = run.scenario.cell_seconds;
  return options;
}

/// Fills run.taught: what teacher-forced cells are fed, by precision. It is the reference's own
/// greedy choice in that precision, one sequence at a time; made once a run.
class Teachers {
 public:
  explicit Teachers(ScenarioRun& run) : run_(run) {}

  Result<void> prepare(const std::vector<int>& cells) {
    std::vector<Cell> lessons;
    for (const int i : cells) {
      const Cell& cell = *run_.cells[std::size_t(i)].cell;
      if (cell.value("teacher_forced") != "true") continue;
      const std::string& precision = cell.value("precision");
      if (run_.taught.count(precision) != 0) continue;
      if (std::any_of(lessons.begin(), lessons.end(),
                      [&](const Cell& c) { return c.value("precision") == precision; })) {
        continue;
      }
      Cell lesson = cell;
      for (const Axis& axis : all_axes()) {
        if (axis.name != "precision") lesson.axes[axis.name] = usual_value(axis.name);
      }
      lessons.push_back(lesson);
    }
    if (lessons.empty()) return {};
    std::vector<Job> jobs(lessons.size());
    for (std::size_t i = 0; i < lessons.size(); ++i) {
      jobs[i].id = int(i);
      jobs[i].cell = &lessons[i];
    }
    std::string failure;
    ExecutorOptions options = executor_options(run_);
    options.sabotage = nullptr;  // the teacher is the reference, whatever is under test
    options.tamper = nullptr;
    auto all = execute(run_.scenario, *run_.session, jobs, options, [&](JobResult&& result) {
      if (result.trace.status != CellStatus::ok) failure = result.trace.reason;
      auto& taught = run_.taught[lessons[std::size_t(result.id)].value("precision")];
      for (const PromptTrace& prompt : result.trace.prompts) {
        taught.emplace_back();
        for (const TokenRecord& token : prompt.tokens) taught.back().push_back(token.id);
      }
      return failure.empty();
    });
    ISOBIT_TRY(all);
    if (!failure.empty()) return Error{"the teacher failed: " + failure, run_.scenario.path};
    return {};
  }

  [[nodiscard]] std::vector<std::vector<std::int32_t>> of(const Cell& cell) const {
    if (cell.value("teacher_forced") != "true") return {};
    const auto at = run_.taught.find(cell.value("precision"));
    return at == run_.taught.end() ? std::vector<std::vector<std::int32_t>>{} : at->second;
  }

 private:
  ScenarioRun& run_;
};

/// Rows of a spill file, read one at a time.
class SpillReader {
 public:
  explicit SpillReader(const std::string& path) : file_(path, std::ios::binary) {}
  std::vector<char> row(const SpillRow& place) {
    std::vector<char> bytes(std::size_t(place.bytes));
    file_.seekg(place.offset);
    file_.read(bytes.data(), std::streamsize(bytes.size()));
    if (!file_) bytes.clear();
    return bytes;
  }

 private:
  std::ifstream file_;
};

template <class T>
RowDistance distance_of(const std::vector<char>& a, const std::vector<char>& b) {
  const auto view = [](const std::vector<char>& bytes) {
    return std::span<const T>(reinterpret_cast<const T*>(bytes.data()), bytes.size() / sizeof(T));
  };
  return row_distance(view(a), view(b));
}

/// Distances over rows that both cells have, up to each prompt's first flip.
Result<WithinResult> compare_spills(const std::string& a, const std::string& b, bool wide) {
  auto rows_a = read_spill_index(a);
  ISOBIT_TRY(rows_a);
  auto rows_b = read_spill_index(b);
  ISOBIT_TRY(rows_b);
  std::map<std::pair<int, std::int64_t>, SpillRow> other;
  for (const SpillRow& row : *rows_b) other.emplace(std::pair(row.prompt, row.position), row);
  SpillReader reader_a(a), reader_b(b);
  WithinResult out;
  out.has_values = true;
  int flipped_prompt = -1;
  for (const SpillRow& row : *rows_a) {
    const auto at = other.find({row.prompt, row.position});
    if (at == other.end() || row.prompt == flipped_prompt) continue;
    const std::vector<char> x = reader_a.row(row), y = reader_b.row(at->second);
    if (x.empty() || x.size() != y.size()) return Error{"a spill file is short", a};
    const RowDistance d = wide ? distance_of<double>(x, y) : distance_of<float>(x, y);
    ++out.tokens;
    if (d.argmax_a == d.argmax_b) {
      ++out.equal_tokens;
    } else {
      flipped_prompt = row.prompt;
    }
    out.max_kl = std::max(out.max_kl, d.kl);
    out.max_abs = std::max(out.max_abs, d.max_abs);
    out.max_ulp = std::max(out.max_ulp, d.max_ulp);
  }
  return out;
}

/// Spill files of one run, deleted with it.
class Spills {
 public:
  explicit Spills(const ScenarioRun& run)
      : folder_((std::filesystem::path(run.options->database).parent_path() /
                 ("spill-" + std::to_string(getpid())))
                    .string()) {}
  ~Spills() {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }
  std::string path(int cell) {
    std::error_code ignored;
    std::filesystem::create_directories(folder_, ignored);
    return folder_ + "/" + std::to_string(cell);
  }

 private:
  std::string folder_;
};

Result<void> measure_within(ScenarioRun& run, Spills& spills) {
  for (const Group& group : groups_of(run.scenario, run.matrix)) {
    const Expectation& rule = run.scenario.expect[std::size_t(group.rule)];
    if (rule.kind != Expectation::Kind::within) continue;
    std::vector<int> ran;
    for (const int i : group.cells) {
      const JudgedCell& cell = run.cells[std::size_t(i)];
      if (cell.state == JudgedCell::State::executed &&
          cell.attempts.front().status == CellStatus::ok) {
        ran.push_back(i);
      }
    }
    for (std::size_t m = 1; m < ran.size(); ++m) {
      const bool wide = run.cells[std::size_t(ran[m])].cell->value("precision") == "fp64";
      auto result = compare_spills(spills.path(ran.front()), spills.path(ran[m]), wide);
      ISOBIT_TRY(result);
      run.within[{group.rule, ran.front(), ran[m]}] = *result;
    }
  }
  return {};
}

/// Plans, runs and stores one attempt of every cell that is to be executed.
class Round {
 public:
  Round(ScenarioRun& run, const Teachers& teachers, Spills& spills, Progress& progress)
      : run_(run), teachers_(teachers), spills_(spills), progress_(progress) {}

  Result<bool> execute_once(const std::vector<int>& cells, int attempt) {
    const std::vector<bool> by_value = needs_values(run_);
    std::vector<Job> jobs;
    records_.clear();
    for (const int i : cells) {
      Job job;
      job.id = i;
      job.attempt = attempt;
      job.cell = run_.cells[std::size_t(i)].cell;
      job.teacher = teachers_.of(*job.cell);
      if (by_value[std::size_t(i)] && attempt == 1) job.spill = spills_.path(i);
      jobs.push_back(std::move(job));
      CellInfo record = run_.records[std::size_t(i)];
      record.attempt = attempt;
      records_.push_back(std::move(record));
    }
    if (attempt > 1) {
      if (auto ok = run_.store->plan(records_); !ok) return ok.error();
    }
    return execute(run_.scenario, *run_.session, jobs, executor_options(run_),
                   [&](JobResult&& result) { return keep(cells, std::move(result)); });
  }
  [[nodiscard]] const std::optional<Error>& failure() const { return failure_; }

 private:
  bool keep(const std::vector<int>& cells, JobResult&& result) {
    const auto at = std::find(cells.begin(), cells.end(), result.id) - cells.begin();
    CellInfo& record = records_[std::size_t(at)];
    if (auto ok = run_.store->finish(record, result.trace); !ok) {
      failure_ = ok.error();
      return false;
    }
    JudgedCell& cell = run_.cells[std::size_t(result.id)];
    if (result.attempt == 1) run_.records[std::size_t(result.id)] = record;
    failed_ += result.trace.status == CellStatus::ok ? 0 : 1;
    cell.state = JudgedCell::State::executed;
    cell.attempts.push_back(std::move(result.trace));
    progress_.update(++run_.executed, failed_, cell.cell->name());
    const RunOptions& options = *run_.options;
    const double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - run_.started).count();
    if (options.max_seconds > 0 && seconds > options.max_seconds) run_.out_of_time = true;
    return !run_.out_of_time && (options.max_fail == 0 || failed_ < options.max_fail);
  }

  ScenarioRun& run_;
  const Teachers& teachers_;
  Spills& spills_;
  Progress& progress_;
  std::vector<CellInfo> records_;
  std::optional<Error> failure_;
  std::int64_t failed_ = 0;
};

bool attempts_differ(const ScenarioRun& run) {
  return std::any_of(run.cells.begin(), run.cells.end(), [](const JudgedCell& cell) {
    return cell.attempts.size() > 1 &&
           cell_root(cell.attempts.back()) != cell_root(cell.attempts.front());
  });
}

}  // namespace

Result<void> execute_cells(ScenarioRun& run) {
  const RunOptions& options = *run.options;
  std::vector<int> cells;
  for (std::size_t i = 0; i < run.cells.size(); ++i) {
    const bool waits = run.cells[i].state == JudgedCell::State::not_run;
    if (waits) cells.push_back(int(i));
  }
  if (cells.empty()) return {};
  if (options.shuffle) {
    std::mt19937_64 generator(options.shuffle_seed);
    std::shuffle(cells.begin(), cells.end(), generator);
    run.notes.push_back("shuffled with seed " + std::to_string(options.shuffle_seed));
  }
  Teachers teachers(run);
  if (auto ok = teachers.prepare(cells); !ok) return ok;
  const int rounds = options.until_fail ? 1000000 : std::max(1, options.repeat);
  const std::int64_t total = std::int64_t(cells.size()) * (options.until_fail ? 1 : rounds);
  Progress progress(total, isatty(STDERR_FILENO) != 0, options.quiet || !options.progress);
  Spills spills(run);
  Round round(run, teachers, spills, progress);
  for (int attempt = 1; attempt <= rounds; ++attempt) {
    auto all = round.execute_once(cells, attempt);
    ISOBIT_TRY(all);
    if (round.failure()) return *round.failure();
    if (!*all) break;
    if (options.until_fail && attempts_differ(run)) break;
  }
  progress.finish();
  run.interrupted = interrupted != 0;
  for (JudgedCell& cell : run.cells) {
    if (cell.state == JudgedCell::State::not_run) {
      cell.state_reason = run.interrupted ? "interrupted" : "stopped early";
    }
  }
  return measure_within(run, spills);
}

Result<void> explain_differences(ScenarioRun& run) {
  if (run.interrupted) return {};
  std::vector<int> cells;
  for (std::size_t i = 0; i < run.cells.size(); ++i) {
    const JudgedCell& cell = run.cells[i];
    const bool wanted = cell.judgement.verdict == Verdict::diff && cell.against >= 0 &&
                        cell.first.prompt >= 0 && cell.first.what != "prompt missing";
    if (wanted && int(cells.size()) < kMostExplained) cells.push_back(int(i));
  }
  if (cells.empty()) return {};
  Teachers teachers(run);
  if (auto ok = teachers.prepare(cells); !ok) return ok;
  std::vector<Job> jobs;
  for (const int i : cells) {
    const JudgedCell& cell = run.cells[std::size_t(i)];
    for (const bool base : {true, false}) {
      Job job;
      job.id = 2 * i + (base ? 0 : 1);
      job.cell = base ? run.cells[std::size_t(cell.against)].cell : cell.cell;
      job.teacher = teachers.of(*job.cell);
      job.capture = {{cell.first.prompt, cell.first.position}};
      jobs.push_back(std::move(job));
    }
  }
  std::map<int, RowValues> rows;
  auto all = execute(run.scenario, *run.session, jobs, executor_options(run), [&](JobResult&& r) {
    if (!r.captured.empty()) rows[r.id] = std::move(r.captured.begin()->second);
    return true;
  });
  ISOBIT_TRY(all);
  for (const int i : cells) {
    const RowValues &a = rows[2 * i], &b = rows[2 * i + 1];
    if (a.empty() || a.size() != b.size()) continue;
    JudgedCell& cell = run.cells[std::size_t(i)];
    ReportDivergence& d = cell.divergence;
    if (cell.cell->value("precision") == "fp64") {
      d.distance = row_distance(std::span<const double>(a), std::span<const double>(b));
    } else {
      const std::vector<float> x(a.begin(), a.end()), y(b.begin(), b.end());
      d.distance = row_distance(std::span<const float>(x), std::span<const float>(y));
    }
    if (d.distance.differing == 0) continue;  // only an inner row differed
    d.has_distance = true;
    cell.judgement.severity = std::max(cell.judgement.severity, severity_of(d.distance));
  }
  return {};
}

}  // namespace isobit
