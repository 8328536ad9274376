// Markdown for a pull request's step summary, and the annotations beside it.
//
// At most kMarkdownLimit bytes however long the run: red first, then what fits of the rest, and a
// line that says what was left out.
#include <string>

#include "reports/describe.h"
#include "reports/report.h"
#include "runtime/base/text.h"

namespace isobit {
namespace {

constexpr std::size_t kMarkdownLimit = 900'000;  // the summary's own limit is 1 MiB
constexpr std::size_t kAnnotations = 10;
constexpr std::size_t kCellText = 2000;  // code points of one table cell or line

// Text with a budget: a piece is taken whole or not at all.
class Page {
 public:
  explicit Page(std::size_t limit) : limit_(limit) {}
  bool add(const std::string& piece) {
    if (full_ || text_.size() + piece.size() > limit_) return full_ = true, false;
    text_ += piece;
    return true;
  }
  // For the few bytes that must be there: the reserve below is larger than all of them.
  void must_add(const std::string& piece) { text_ += piece; }
  [[nodiscard]] std::string take() { return std::move(text_); }

 private:
  std::string text_;
  std::size_t limit_;
  bool full_ = false;
};

std::string code(const std::string& value) {
  return text::markdown_code(text::truncate(text::valid_utf8(value), kCellText));
}

std::string plain(const std::string& value) {
  return text::markdown(text::truncate(text::valid_utf8(value), kCellText));
}

std::string head(const Report& report) {
  std::string out = "## " + std::string(report.exit_code == kExitOk ? "✅ " : "❌ ") +
                    plain(report.scenario) + ": " + outcome_text(report) + "\n\n";
  if (!report.question.empty()) out += plain(report.question) + "\n\n";
  out += totals_text(report) + ", exit code " + std::to_string(report.exit_code) + ".\n\n";
  out += counts_text(report) + ".\n\n";
  const std::string agreement = agreement_text(report);
  if (!agreement.empty()) out += agreement + ".\n\n";
  std::vector<std::string> lines = report.notes;
  for (const std::string& line : answer_lines(report)) lines.push_back(line);
  for (const std::string& line : lines) out += "- " + plain(line) + "\n";
  return out + (lines.empty() ? "" : "\n");
}

// Lines as a code block whose fence no line can close.
std::string block(const std::vector<std::string>& lines) {
  std::string body;
  for (const std::string& line : lines) {
    body += text::printable(text::truncate(text::valid_utf8(line), kCellText)) + "\n";
  }
  std::string fence = "```";
  while (body.find(fence) != std::string::npos) fence += "`";
  return fence + "text\n" + body + fence + "\n\n";
}

std::string red_group(const Report& report, const AlikeGroups& alike) {
  constexpr std::size_t kLetters = 90;
  const GroupResult& group = report.groups[alike.first];
  std::string out =
      "### " + std::string(name_of(group.judgement.verdict)) + " " + plain(group.rule);
  if (!group.key.empty()) out += " (" + plain(group.key) + ")";
  out += "\n\n";
  if (!group.judgement.reason.empty()) out += plain(group.judgement.reason) + "\n\n";
  std::vector<std::string> lines = {measured_text(group, report), ""};
  for (const std::string& line : picture_lines(group, report, kLetters)) lines.push_back(line);
  const std::vector<std::string> equal = equal_pair_lines(group, report);
  for (std::size_t i = 0; i < equal.size() && i < 20; ++i) lines.push_back("equal: " + equal[i]);
  if (const std::string others = others_text(alike); !others.empty()) lines.push_back(others);
  return out + block(lines);
}

std::string red_cell(const ReportCell& cell, const AlikeCells& alike) {
  std::string out =
      "**" + verdict_text(cell.verdict, cell.severity) + "** " + code(cell_text(cell)) + "\n\n";
  std::vector<std::string> lines;
  if (!cell.reason.empty()) lines.push_back(cell.reason);
  for (const std::string& line : divergence_lines(cell.divergence)) lines.push_back(line);
  if (!cell.repro.empty()) lines.push_back("repro: " + cell.repro);
  if (!cell.imported.empty()) lines.push_back(origin_text(cell));
  const std::string others = others_text(alike);
  if (!others.empty()) lines.push_back(others + ", in the table of cells below");
  return lines.empty() ? out : out + block(lines);
}

std::string group_row(const Report& report, const GroupResult& group) {
  constexpr std::size_t kLetters = 60;
  return std::string("| ") + name_of(group.judgement.verdict) + " | " + plain(group.rule) + " | " +
         plain(group.key) + " | " + code(text::truncate(letters_of(group, report), kLetters)) +
         " | " + text::count(group.compared_tokens) + " | " + plain(group.judgement.reason) +
         " |\n";
}

std::string cell_row(const ReportCell& cell) {
  std::string remark = cell.reason;
  if (cell.cached) {
    const std::string cached = "cached" + (cell.cached_date.empty() ? "" : " " + cell.cached_date);
    remark = remark.empty() ? cached : cached + "; " + remark;
  }
  if (const std::string origin = origin_text(cell); !origin.empty()) {
    remark = remark.empty() ? origin : origin + "; " + remark;
  }
  return "| " + verdict_text(cell.verdict, cell.severity) + " | " + code(cell_text(cell)) + " | " +
         plain(cell.class_label) + " | " + plain(remark) + " |\n";
}

// A folded table of as many rows as fit; how many did not.
template <class Item, class Row>
std::size_t table(Page& page, const std::string& title, const std::string& header,
                  const std::vector<Item>& items, const Row& row) {
  if (items.empty()) return 0;
  if (!page.add("<details><summary>" + title + "</summary>\n\n" + header)) return items.size();
  std::size_t rows = 0;
  while (rows < items.size() && page.add(row(items[rows]))) ++rows;
  page.must_add("\n</details>\n\n");
  return items.size() - rows;
}

void add_red(Page& page, const Report& report, std::size_t& left_out) {
  for (const AlikeGroups& alike : alike_bad_groups(report)) {
    if (!page.add(red_group(report, alike))) ++left_out;
  }
  for (const AlikeCells& alike : alike_red_cells(report)) {
    if (!page.add(red_cell(report.cells[alike.first], alike))) ++left_out;
  }
}

std::string table_row(const std::vector<std::string>& row) {
  std::string out = "|";
  for (const std::string& cell : row) out += " " + plain(cell) + " |";
  return out + "\n";
}

void add_table(Page& page, const std::string& title,
               const std::vector<std::vector<std::string>>& rows,
               const std::vector<std::string>& notes, std::size_t& left_out) {
  if (rows.empty()) return;
  std::string head = "### " + title + "\n\n" + table_row(rows[0]) + "|";
  for (std::size_t i = 0; i < rows[0].size(); ++i) head += " --- |";
  if (!page.add(head + "\n")) {
    left_out += rows.size() - 1;
    return;
  }
  for (std::size_t i = 1; i < rows.size(); ++i) {
    if (!page.add(table_row(rows[i]))) ++left_out;
  }
  page.must_add("\n");
  for (const std::string& note : notes) {
    if (!page.add("- " + plain(note) + "\n")) ++left_out;
  }
  page.must_add("\n");
}

std::string measured_section(const MeasuredGroup& group) {
  std::string out = "**" + plain(group.rule) + "**";
  if (!group.key.empty()) out += " (" + plain(group.key) + ")";
  std::vector<std::string> lines = metric_lines(group);
  for (std::string& line : measured_pair_lines(group, true)) lines.push_back(std::move(line));
  return out + ": " + plain(basis_text(group)) + "\n\n" + block(lines);
}

/// What ensembles measured, each as the terminal tells it.
void add_ensembles(Page& page, const Report& report, std::size_t& left_out) {
  for (const GroupResult& group : report.groups) {
    const std::vector<std::string> lines = ensemble_lines(group);
    if (lines.empty()) continue;
    const std::string key = group.key.empty() ? "" : " (" + plain(group.key) + ")";
    if (!page.add("### " + plain(group.rule) + key + "\n\n" + block(lines))) ++left_out;
  }
}

void add_tables(Page& page, const Report& report, std::size_t& left_out) {
  for (const MeasuredGroup& group : report.measured) {
    if (!page.add(measured_section(group))) ++left_out;
  }
  left_out +=
      table(page, text::count(std::int64_t(report.groups.size()), "group"),
            "| verdict | rule | group | classes | tokens | remark |\n"
            "| --- | --- | --- | --- | ---: | --- |\n",
            report.groups, [&](const GroupResult& group) { return group_row(report, group); });
  left_out += table(page, text::count(std::int64_t(report.cells.size()), "cell"),
                    "| verdict | cell | class | remark |\n| --- | --- | --- | --- |\n",
                    report.cells, cell_row);
}

// "%", line ends and, in properties, ":" and "," end an annotation's field.
std::string annotation_text(const std::string& value, bool property) {
  std::string out;
  for (const char c : text::printable(value, 1000)) {
    if (c == '%') {
      out += "%25";
    } else if (property && c == ':') {
      out += "%3A";
    } else if (property && c == ',') {
      out += "%2C";
    } else {
      out += c;
    }
  }
  return out;
}

std::string annotation(const Report& report, const std::string& title, const std::string& message) {
  std::string out = "::error ";
  if (!report.path.empty()) out += "file=" + annotation_text(report.path, true) + ",";
  return out + "title=" + annotation_text(title, true) + "::" + annotation_text(message, false) +
         "\n";
}

}  // namespace

std::string render_markdown(const std::vector<Report>& reports) {
  constexpr std::size_t kReserve = 10'000;  // heads' ends, closing tags, the last line
  Page page(kMarkdownLimit - kReserve);
  std::size_t left_out = 0;
  for (const Report& report : reports) {
    if (!page.add(head(report))) ++left_out;
  }
  // All that is red comes before any table of what is fine.
  for (const Report& report : reports) add_red(page, report, left_out);
  for (const Report& report : reports) {
    add_table(page, "Scores", score_rows(report), score_notes(report), left_out);
    add_table(page, "Cost", cost_rows(report), cost_notes(report), left_out);
  }
  for (const Report& report : reports) add_ensembles(page, report, left_out);
  for (const Report& report : reports) add_tables(page, report, left_out);
  if (left_out > 0) {
    page.must_add("\n" + text::count(std::int64_t(left_out), "entry") +
                  " left out to keep this page small; the JSON and JUnit reports hold all.\n");
  }
  return page.take();
}

std::string render_annotations(const std::vector<Report>& reports) {
  std::string out;
  std::size_t shown = 0, all = 0;
  const auto add = [&](const Report& report, const std::string& title, const std::string& message) {
    if (++all >= kAnnotations) return;  // the last place is kept for the number of the rest
    ++shown;
    out += annotation(report, title, message);
  };
  for (const Report& report : reports) {
    for (const AlikeCells& alike : alike_red_cells(report)) {
      const ReportCell& cell = report.cells[alike.first];
      std::string message = cell.reason;
      if (alike.others > 0) message += "; " + others_text(alike);
      for (const std::string& line : divergence_lines(cell.divergence)) message += "; " + line;
      if (!cell.repro.empty()) message += "; repro: " + cell.repro;
      add(report, verdict_text(cell.verdict, cell.severity) + " " + cell.name, message);
    }
    for (const AlikeGroups& alike : alike_bad_groups(report)) {
      const GroupResult& group = report.groups[alike.first];
      if (!is_red(group.judgement.verdict)) continue;
      const std::string others = others_text(alike);
      add(report, std::string(name_of(group.judgement.verdict)) + " " + group.rule,
          group.key + ": " + group.judgement.reason + (others.empty() ? "" : "; " + others));
    }
  }
  if (all > shown) {
    out += "::error title=isobit::" + text::count(std::int64_t(all - shown)) +
           " more failures are in the step summary\n";
  }
  return out;
}

}  // namespace isobit
