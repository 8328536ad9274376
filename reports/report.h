// What is told: one plain Report value, rendered as terminal text, JSON, JUnit XML or Markdown.
//
// The harness fills a Report when a run ends (and `isobit report` fills one from the database);
// renderers are pure functions of it and never look elsewhere. Files are written atomically.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "harness/judge/compare.h"
#include "harness/verdict.h"
#include "runtime/base/file.h"
#include "runtime/base/result.h"

namespace isobit {

struct ReportDivergence {
  bool present = false;
  std::string against;  // cell name or "golden"
  std::string prompt_id;
  std::int64_t position = -1, index = -1;
  std::int32_t id_a = -1, id_b = -1;
  std::string text_a, text_b;  // the two tokens decoded, when there is a tokenizer
  std::string digest_a, digest_b;
  double margin = 0;
  bool has_distance = false;  // values were recomputed
  RowDistance distance;
  std::string layer_site;  // "layer 3, attn", empty when not recorded
  std::int64_t differing = 0, tokens = 0, flipped = 0;
};

struct ReportCell {
  std::string name, hash;
  std::map<std::string, std::string> axes;
  Verdict verdict = Verdict::pass;
  Severity severity = Severity::none;
  std::string reason;
  std::string class_label;  // "A", "B", … : cells with equal bits share one
  std::string root;         // hex, first 16 digits
  bool cached = false;
  std::string cached_date;
  bool virtual_ranks = false;
  std::int64_t tokens = 0;
  double seconds = 0;
  ReportDivergence divergence;
  std::string repro;  // the one line that repeats this cell
};

/// A cell of a group whose cells need not be equal, against the group's first cell.
struct ReportPair {
  std::string cell;
  std::int64_t rows = 0, differing = 0, flipped = 0;  // rows: computed from equal inputs
  std::int64_t prompts = 0, prompts_differing = 0;
  std::int64_t earliest = -1;  // least index of a first differing token, -1: none
};

/// One group of one contract rule with its picture.
struct ReportGroup {
  std::string rule;  // "same_bits across batch, cache"
  std::string key;   // "engine=reference,precision=bf16"
  Verdict verdict = Verdict::pass;
  std::string reason;
  std::vector<std::string> cells;        // names
  std::string classes;                   // class letters by cell: "AAAABA"
  std::vector<std::string> equal_pairs;  // differ, differ_all: the pairs that were equal
  std::int64_t compared_tokens = 0, differing = 0, flipped = 0, comparable_rows = 0;
  double flip_rate_bound = 0;  // 3/N or Wilson
  std::vector<std::int64_t> divergence_index;
  std::vector<float> flip_margins;
  std::string base;               // of pairs: the cell that the others are compared with
  std::vector<ReportPair> pairs;  // of differ, differ_all and measure
};

struct Report {
  std::string scenario, question, path, command;
  std::int64_t run = 0;
  std::array<std::int64_t, kVerdicts> counts{};
  std::vector<ReportCell> cells;
  std::vector<ReportGroup> groups;
  std::vector<std::string> notes;  // environment difference, golden changes, warnings
  std::int64_t cells_executed = 0, cells_cached = 0, tokens_compared = 0, tokens = 0;
  std::int64_t prompts_correct = -1, prompts_scored = 0;  // accuracy when prompts have answers
  double seconds = 0, record_seconds = 0;
  std::map<std::string, std::string> environment;
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
std::string render_junit(const std::vector<Report>& reports);
std::string render_markdown(const std::vector<Report>& reports);  // at most 900 kB
/// At most ten "::error …" lines for GitHub Actions; the last one counts the rest.
std::string render_annotations(const std::vector<Report>& reports);

/// "junit=path", "md=path", "json=path": renders and writes atomically. Under GitHub Actions "md"
/// also prints the annotations to stderr, and keeps what $GITHUB_STEP_SUMMARY already holds.
Result<void> write_report(const std::string& kind_and_path, const std::vector<Report>& reports);

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
