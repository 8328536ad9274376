// The report that a person reads in a terminal: what is fine in short, what is not at the end.
//
// Order: head, cells when asked for, skips by reason, groups, what was measured, notes, then every
// failure with its picture and repro line, then the counts. So the last screen of a long run says
// what to do.
#include <algorithm>
#include <map>
#include <string>
#include <string_view>
#include <utility>

#include "reports/describe.h"
#include "reports/report.h"
#include "runtime/base/text.h"

namespace isobit {
namespace {

constexpr std::size_t kMostRows = 60;   // of a table
constexpr std::size_t kMostShown = 20;  // groups, and failing cells; --verbose shows all

class Terminal {
 public:
  Terminal(const Report& report, const TerminalStyle& style) : report_(report), style_(style) {}

  std::string render() {
    if (!style_.quiet) {
      head();
      if (style_.verbose) cells();
      skips();
      groups();
      measured();
      notes();
      table("score", score_rows(report_), score_notes(report_));
      table("cost", cost_rows(report_), cost_notes(report_));
      open_cells();
      red_groups();
      red_cells();
    }
    summary();
    return std::move(out_);
  }

 private:
  const Report& report_;
  const TerminalStyle& style_;
  std::string out_;

  void line(const std::string& content) { out_ += content + "\n"; }
  std::string paint(const char* code, const std::string& content) const {
    return style_.color ? "\x1b[" + std::string(code) + "m" + content + "\x1b[0m" : content;
  }
  std::string paint(Verdict verdict, const std::string& content) const {
    if (is_red(verdict)) return paint("1;31", content);
    if (is_open(verdict)) return paint("33", content);
    return paint(verdict == Verdict::pass ? "32" : "2", content);
  }
  [[nodiscard]] std::size_t limit(std::size_t size) const {
    return style_.verbose ? size : std::min(size, kMostShown);
  }
  [[nodiscard]] std::size_t picture_width() const {
    return style_.width > 20 ? std::size_t(style_.width) - 12 : 10;
  }
  /// "rule  [key]"; a group of all cells has no key.
  static std::string title_of(const std::string& rule, const std::string& key) {
    return text::printable(rule) + (key.empty() ? "" : "  [" + text::printable(key) + "]");
  }
  void more(std::size_t all, std::size_t shown, const char* what) {
    if (all > shown) {
      line("  and " + text::count(std::int64_t(all - shown)) + " more " + what + ": -v shows all");
    }
  }

  void head() {
    std::string title = paint("1", text::printable(report_.scenario));
    if (!report_.question.empty()) title += ": " + text::printable(report_.question);
    line(title);
    std::string place = text::printable(report_.path);
    if (report_.run > 0) place += (place.empty() ? "run " : ", run ") + std::to_string(report_.run);
    if (!place.empty()) line(paint("2", place));
    if (style_.verbose) {
      for (const auto& [key, value] : report_.environment) {
        line(paint("2", "  " + text::printable(key) + ": " + text::printable(value)));
      }
    }
  }

  static std::string remarks(const ReportCell& cell) {
    std::string out;
    if (cell.cached) {
      out += "  cached";
      if (!cell.cached_date.empty()) out += " " + text::printable(cell.cached_date);
    }
    if (cell.virtual_ranks) out += "  virtual ranks";
    if (!cell.imported.empty()) out += "  " + text::printable(origin_text(cell));
    if (!cell.reason.empty()) out += "  " + text::printable(cell.reason);
    return out;
  }

  void cells() {
    for (const ReportCell& cell : report_.cells) {
      std::string verdict = verdict_text(cell.verdict, cell.severity);
      verdict.resize(std::max<std::size_t>(verdict.size(), 10), ' ');
      std::string class_and_root = cell.class_label;
      if (!cell.root.empty()) class_and_root += " " + cell.root;
      line("  " + paint(cell.verdict, verdict) + " " + text::printable(class_and_root) + "  " +
           cell_text(cell) + remarks(cell));
    }
  }

  // SKIP and XFAIL, counted by reason.
  void skips() {
    std::map<std::pair<std::string, std::string>, std::int64_t> reasons;
    for (const ReportCell& cell : report_.cells) {
      if (cell.verdict == Verdict::skip || cell.verdict == Verdict::xfail) {
        ++reasons[{name_of(cell.verdict), cell.reason}];
      }
    }
    for (const auto& [key, cells] : reasons) {
      line("  " + paint("2", key.first) + "  " + text::count(cells, "cell") + ": " +
           (key.second.empty() ? "no reason given" : text::printable(key.second)));
    }
  }

  // Groups that hold; the others come later with their picture.
  void groups() {
    std::size_t quiet = 0, shown = 0;
    for (const GroupResult& group : report_.groups) {
      if (is_red(group.judgement.verdict) || is_open(group.judgement.verdict)) continue;
      if (shown == limit(report_.groups.size())) {
        ++quiet;
        continue;
      }
      ++shown;
      std::string content = "  " +
                            paint(group.judgement.verdict, name_of(group.judgement.verdict)) +
                            "  " + title_of(group.rule, group.key);
      content += "  " + measured_text(group, report_);
      if (!group.judgement.reason.empty())
        content += "  " + text::printable(group.judgement.reason);
      line(content);
      measured_cells(group);
    }
    more(shown + quiet, shown, quiet == 1 ? "group that holds" : "groups that hold");
  }

  // Of a control or a measured group: which cells share bits, and how far each is from the first.
  void measured_cells(const GroupResult& group) {
    if (group.pairs.empty() || !group.ensemble.sizes.empty()) return;
    for (const std::string& row : picture_lines(group, report_, picture_width())) {
      line("    " + row);
    }
    const std::vector<std::string> rows = pair_lines(group, report_);
    const std::size_t shown = std::min(rows.size(), limit(rows.size()) + 1);
    for (std::size_t i = 0; i < shown; ++i) line("    " + rows[i]);
    if (shown < rows.size()) {
      line("    and " + text::count(std::int64_t(rows.size() - shown)) + " more: -v shows all");
    }
  }

  void measured() {
    const std::size_t shown = limit(report_.measured.size());
    for (std::size_t i = 0; i < shown; ++i) {
      const MeasuredGroup& group = report_.measured[i];
      line("  " + title_of(group.rule, group.key) + "  " + basis_text(group));
      for (const std::string& row : metric_lines(group)) line("    " + row);
      for (const std::string& row : measured_pair_lines(group, style_.verbose)) {
        line("    " + row);
      }
    }
    more(report_.measured.size(), shown, "measured groups");
    for (const GroupResult& group : report_.groups) {
      const std::vector<std::string> rows = ensemble_lines(group);
      if (rows.empty()) continue;
      line("  " + title_of(group.rule, group.key));
      for (const std::string& row : rows) line("    " + row);
    }
  }

  void notes() {
    for (const std::string& note : report_.notes) line("  note: " + text::printable(note));
    const std::vector<std::string> answers = answer_lines(report_);
    const std::size_t shown = std::min(answers.size(), limit(answers.size()));
    for (std::size_t i = 0; i < shown; ++i) line("  " + answers[i]);
    more(answers.size(), shown, "classes with answers");
    if (report_.record_seconds > 0 && report_.cell_seconds > 0) {
      line("  recording took " + text::number(100 * report_.record_seconds / report_.cell_seconds) +
           " % of the cells' " + text::duration(report_.cell_seconds) + " (summed over cells)");
    }
  }

  void table(const char* title, const std::vector<std::vector<std::string>>& rows,
             const std::vector<std::string>& remarks) {
    if (rows.empty()) return;
    std::vector<std::size_t> widths(rows[0].size());
    for (const auto& row : rows) {
      for (std::size_t i = 0; i < row.size(); ++i) {
        widths[i] = std::max(widths[i], text::length(text::printable(row[i])));
      }
    }
    line(std::string("  ") + title);
    const std::size_t shown = std::max(limit(rows.size()), std::min(rows.size(), kMostRows));
    for (std::size_t r = 0; r < shown; ++r) {
      const auto& row = rows[r];
      std::string cells;
      for (std::size_t i = 0; i < row.size(); ++i) {
        std::string cell = text::printable(row[i]);
        if (i + 1 < row.size()) cell.append(widths[i] + 2 - text::length(cell), ' ');
        cells += cell;
      }
      line("    " + cells);
    }
    if (shown < rows.size()) {
      line("    and " + text::count(std::int64_t(rows.size() - shown)) + " more: -v shows all");
    }
    for (const std::string& remark : remarks) line(paint("2", "    " + remark));
  }

  // Cells that prove nothing, by verdict and reason, with the first of them to begin with.
  void open_cells() {
    std::map<std::pair<Verdict, std::string>, std::pair<std::int64_t, const ReportCell*>> reasons;
    for (const ReportCell& cell : report_.cells) {
      if (!is_open(cell.verdict)) continue;
      auto& [count, first] = reasons[{cell.verdict, cell.reason}];
      if (count++ == 0) first = &cell;
    }
    for (const auto& [key, value] : reasons) {
      const auto& [count, first] = value;
      line("  " + paint(key.first, name_of(key.first)) + "  " + text::count(count, "cell") +
           (key.second.empty() ? "" : ": " + text::printable(key.second)));
      line("    first: " + cell_text(*first));
      if (!first->repro.empty()) line("    repro: " + text::printable(first->repro));
    }
  }

  void red_groups() {
    if (style_.verbose) {
      for (const GroupResult& group : report_.groups) {
        if (is_red(group.judgement.verdict) || is_open(group.judgement.verdict)) red_group(group);
      }
      return;
    }
    std::size_t untold = 0, told = 0;
    for (const AlikeGroups& alike : alike_bad_groups(report_)) {
      if (told++ >= kMostShown) {
        untold += 1 + alike.others.size();
        continue;
      }
      red_group(report_.groups[alike.first]);
      const std::string others = others_text(alike);
      if (!others.empty()) line("  " + others + ": -v shows all");
    }
    more(untold, 0, "groups");
  }

  void red_group(const GroupResult& group) {
    line("");
    line(paint(group.judgement.verdict, name_of(group.judgement.verdict)) + "  " +
         title_of(group.rule, group.key));
    if (!group.judgement.reason.empty()) line("  " + text::printable(group.judgement.reason));
    line("  " + measured_text(group, report_));
    for (const std::string& row : picture_lines(group, report_, picture_width())) {
      line("    " + row);
    }
    std::size_t pairs = 0;
    for (const std::string& pair : equal_pair_lines(group, report_)) {
      if (pairs++ == limit(group.equal_pairs.size())) break;
      line("    equal: " + pair);
    }
  }

  // The letters of the first group that a cell is in: which other cells share its bits.
  [[nodiscard]] std::string letters_around(int cell) const {
    for (const GroupResult& group : report_.groups) {
      if (std::find(group.cells.begin(), group.cells.end(), cell) == group.cells.end()) continue;
      return text::truncate(letters_of(group, report_), picture_width());
    }
    return {};
  }

  void red_cells() {
    if (style_.verbose) {
      for (std::size_t i = 0; i < report_.cells.size(); ++i) {
        if (is_red(report_.cells[i].verdict)) red_cell(i);
      }
      return;
    }
    const std::vector<AlikeCells> alike = alike_red_cells(report_);
    std::int64_t untold = 0;
    for (std::size_t i = 0; i < alike.size(); ++i) {
      if (i >= kMostShown) {
        untold += 1 + alike[i].others;
        continue;
      }
      red_cell(alike[i].first);
      const std::string others = others_text(alike[i]);
      if (!others.empty()) line("  " + others + ": -v shows all");
    }
    more(std::size_t(untold), 0, "failing cells");
  }

  void red_cell(std::size_t index) {
    const ReportCell& cell = report_.cells[index];
    line("");
    line(paint(cell.verdict, verdict_text(cell.verdict, cell.severity)) + "  " + cell_text(cell));
    if (!cell.reason.empty()) line("  " + text::printable(cell.reason));
    for (const std::string& row : divergence_lines(cell.divergence)) line("  " + row);
    const std::string letters = letters_around(int(index));
    if (!letters.empty()) {
      line("  classes " + letters +
           (cell.class_label.empty() ? "" : ", this cell " + text::printable(cell.class_label)));
    }
    if (!cell.repro.empty()) line("  repro   " + paint("1", text::printable(cell.repro)));
    if (!cell.imported.empty()) line("  " + text::printable(origin_text(cell)));
  }

  void summary() {
    if (!style_.quiet) line("");
    const bool good = report_.exit_code == kExitOk;
    line(paint(good ? "1;32" : "1;31", outcome_text(report_)) + "  " +
         text::printable(report_.scenario) + ": " + totals_text(report_) + ", exit code " +
         std::to_string(report_.exit_code));
    line(counts_text(report_));
    const std::string agreement = agreement_text(report_);
    if (!agreement.empty()) line(agreement);
  }
};

}  // namespace

std::string render_terminal(const Report& report, const TerminalStyle& style) {
  return Terminal(report, style).render();
}

}  // namespace isobit
