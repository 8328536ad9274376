// What is told: one plain Report value, rendered as terminal text, JSON, JUnit XML, Markdown or
// HTML.
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

/// One side of a row of logits, as it was stored.
struct ReportSide {
  std::int32_t id = -1;  // token drawn from it; -1: this side has no such row
  std::string digest;    // hex; empty: no such row
  double margin = 0;
  std::vector<std::pair<std::int32_t, double>> top;  // token and logit, largest first
};

struct ReportRow {
  std::int64_t position = 0;
  ReportSide a, b;
  bool same_inputs = true;  // all tokens fed before are equal
  [[nodiscard]] bool differs() const { return a.digest != b.digest || a.id != b.id; }
};

/// Recorded rows inside the model, by position and layer, around the first that differs.
struct ReportLayers {
  std::vector<std::int64_t> positions;
  std::vector<std::int32_t> layers;               // -1: the embedding; the last: after all layers
  std::vector<std::int64_t> compared, differing;  // (positions, layers): sites on both sides
  std::vector<std::string> first;                 // by position: "layer 3, attn"; empty: equal
};

/// The rows around the first difference of a cell, with those of what it was compared with.
struct ReportWindow {
  int cell = -1;  // index among the report's cells
  std::string prompt_id, name_a, name_b;
  std::string text_a, text_b;  // generated, the beginning
  std::string missing;         // why there are no rows of the other side; empty: they are there
  std::vector<ReportRow> rows;
  std::int64_t before = 0, after = 0;  // rows of the prompt that are left out
  ReportLayers layers;
};

/// Margins of all rows of the first cell of a class, counted between kMarginSteps.
struct ReportMargins {
  std::string class_label;
  std::vector<std::int64_t> counts;
};
/// Lower ends of the steps; a margin of exactly 0 is in the first.
constexpr std::array<double, 9> kMarginSteps = {0, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1, 10};

/// The run of the same scenario that this one is held against, and what its machine had else.
struct ReportEarlier {
  std::int64_t run = 0;  // 0: there is none
  int exit_code = 0;
  std::string started;
  std::vector<std::array<std::string, 3>> changes;  // name, then, now; "" where a side lacks it
};

/// What only some kinds tell, read from the traces for them (detail.cc).
struct ReportDetail {
  bool read = false;
  std::string started, commit;
  std::vector<ReportWindow> windows;
  std::int64_t windows_left_out = 0;
  std::vector<ReportMargins> margins;
  ReportEarlier earlier;
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
  ReportDetail detail;
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
/// One page without any request, under strict rules of content. The same bytes for the same
/// reports.
std::string render_html(const std::vector<Report>& reports);
/// At most ten "::error …" lines for GitHub Actions; the last one counts the rest.
std::string render_annotations(const std::vector<Report>& reports);

using Reports = std::vector<Report>;
/// A kind of file that --report writes. A new one is a file of this folder and a row in write.cc.
struct ReportKind {
  std::string name;  // of KIND=PATH
  std::string (*render)(const Reports& reports, const std::string& path);
  bool detail = false;  // tells what is read from the traces
};
const std::vector<ReportKind>& report_kinds();
/// The PATH that is standard output. A run that writes a report there prints nothing else there.
constexpr const char* kStandardOutput = "-";
bool goes_to_standard_output(const std::vector<std::string>& targets);
/// Whether one of them tells Report::detail.
bool wants_detail(const std::vector<std::string>& targets);
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
