// What is told: one plain Report value, rendered as terminal text, JSON, JUnit XML or Markdown.
//
// A Report is built from the database alone (build.h), by `check` and `report` alike; renderers are
// pure functions of it and never look elsewhere. Files are written atomically.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "harness/verdict.h"
#include "runtime/base/result.h"

namespace isobit {

/// What a cell took, as its executions say; of a reused cell, the execution that it reuses.
struct ReportCost {
  struct Execution {
    double seconds = 0;                          // wall clock, load excluded
    std::int64_t prompt_tokens = 0, tokens = 0;  // a prompt that fills several places counts once
    std::int64_t peak_bytes = 0, energy_mj = 0;  // 0: not measured
  };
  std::vector<Execution> executions;  // none: costs are not asked for, or the cell gave no trace
  std::int64_t weight_bytes = 0, cache_bytes = 0, moved_bytes = 0;  // moved: by the least rank
  bool on_gpu = false;        // the memory is GPUs', and so is the energy
  std::string energy_source;  // "rapl", "nvml"; empty: not measured
};

struct ReportCell {
  std::string name, hash;
  std::map<std::string, std::string> axes;
  Verdict verdict = Verdict::pass;
  Severity severity = Severity::none;
  std::string reason;
  std::string class_label;  // "A", "B", …: cells with equal bits share one; "!" failed, "-" not run
  std::string root;         // hex, first 16 digits
  bool cached = false;
  std::string cached_date;
  std::string imported;  // file of a trace that was recorded elsewhere; empty: none
  bool virtual_ranks = false;
  std::int64_t tokens = 0;
  std::int64_t executions = 0;  // that gave bits, first attempt included; 0: none
  double seconds = 0;
  Difference divergence;
  Score score;
  std::vector<ScoreValue> scores;  // references: indices into the report's cells
  ReportCost cost;
  std::string repro;  // the one line that repeats this cell
};

struct Report {
  std::string scenario, question, path, command;
  std::int64_t run = 0;
  std::array<std::int64_t, kVerdicts> counts{};
  std::vector<ReportCell> cells;
  std::vector<GroupResult> groups;      // cells: indices into `cells`
  std::vector<MeasuredGroup> measured;  // as groups
  std::vector<std::string> notes;       // environment difference, golden changes, warnings
  std::int64_t cells_executed = 0, cells_cached = 0, cells_imported = 0;
  std::int64_t tokens_compared = 0, tokens = 0;
  double seconds = 0;                           // wall clock
  double cell_seconds = 0, record_seconds = 0;  // sums over executed cells, not wall clock
  std::map<std::string, std::string> environment;
  bool cost = false;  // tell it
  int exit_code = 0;
};

struct TerminalStyle {
  bool color = false;
  bool quiet = false;    // only the last summary
  bool verbose = false;  // every cell
  int width = 100;
};
/// Failures come last, each with first divergence, class picture and its repro line, then counts.
std::string render_terminal(const Report& report, const TerminalStyle& style);
std::string render_json(const Report& report);  // {"format": 1, …}
/// One document for any number: one report as it is, several as {"format": 1, "reports": […]}.
std::string render_json(const std::vector<Report>& reports);
std::string render_junit(const std::vector<Report>& reports);
std::string render_markdown(const std::vector<Report>& reports);  // at most 900 kB
/// At most ten "::error …" lines for GitHub Actions; the last one counts the rest.
std::string render_annotations(const std::vector<Report>& reports);

using Reports = std::vector<Report>;
/// A kind of file that --report writes. A new one is a file of this folder and a row in write.cc.
struct ReportKind {
  std::string name;  // of KIND=PATH
  std::string (*render)(const Reports& reports, const std::string& path);
};
const std::vector<ReportKind>& report_kinds();
/// The PATH that is standard output. A run that writes a report there prints nothing else there.
constexpr const char* kStandardOutput = "-";
bool goes_to_standard_output(const std::vector<std::string>& targets);
/// PATH of a KIND=PATH of a known kind; an error says what is known.
Result<std::string> check_report_target(const std::string& kind_and_path);
/// Renders and writes atomically. Under GitHub Actions "md" also prints the annotations to stderr,
/// and keeps what $GITHUB_STEP_SUMMARY already holds.
Result<void> write_report(const std::string& kind_and_path, const Reports& reports);

/// Progress on stderr: a bar with rate and remaining time on a terminal, a plain line at most
/// every few seconds otherwise. Not thread-safe.
class Progress {
 public:
  Progress(std::int64_t total, bool terminal, bool quiet);
  ~Progress();
  void update(std::int64_t done, std::int64_t failed, const std::string& current);
  void finish();

 private:
  std::int64_t total_, done_ = 0, failed_ = 0;
  bool terminal_, quiet_, drawn_ = false;
  double started_, last_ = 0;
};

}  // namespace isobit
