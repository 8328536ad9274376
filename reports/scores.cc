// The table of scores: a row a value and cell, and what each is compared with.
#include <algorithm>
#include <cstdio>
#include <set>

#include "harness/score/score.h"
#include "reports/describe.h"
#include "runtime/base/text.h"

namespace isobit {
namespace {

std::string figure(const char* format, double value) {
  char buffer[40];
  std::snprintf(buffer, sizeof buffer, format, value);
  return buffer;
}

const ScoreEntry* entry_of(const ScoreValue& value) {
  return find_score(value.score + "." + value.value_name);
}

std::string value_text(const ScoreValue& value) {
  if (!value.value) return "none: " + text::printable(value.reason);
  std::string out = figure("%.4g", *value.value);
  if (value.error) out += figure(" ± %.2g", *value.error);
  const ScoreEntry* entry = entry_of(value);
  const std::string unit = entry == nullptr ? "share" : entry->unit;
  return unit == "share" || unit == "1" ? out : out + " " + unit;
}

/// "-0.05 (+1 -6, p 0.125)", with the reference's hash where there are several.
std::string difference_text(const ScoreValue& value, const Report& report, bool several) {
  if (!value.difference) return "";
  std::string out = figure("%+.3g", *value.difference);
  if (value.p) {
    out += " (+" + text::count(value.gained) + " -" + text::count(value.lost) +
           figure(", p %.2g", *value.p) + ")";
  }
  const auto at = std::size_t(value.reference);
  if (several && at < report.cells.size()) out += " from /" + report.cells[at].hash.substr(0, 8);
  return out;
}

std::set<int> references_of(const Report& report) {
  std::set<int> out;
  for (const ReportCell& cell : report.cells) {
    for (const ScoreValue& value : cell.scores) {
      if (value.reference >= 0) out.insert(value.reference);
    }
  }
  return out;
}

std::vector<std::string> row_of(const Report& report, std::size_t cell, const ScoreValue& value,
                                const std::vector<std::string>& axes,
                                const std::set<int>& references) {
  const ReportCell& own = report.cells[cell];
  std::vector<std::string> row = {value.score + "." + value.value_name};
  for (const std::string& axis : axes) {
    const auto found = own.axes.find(axis);
    row.push_back(found == own.axes.end() ? "" : found->second);
  }
  if (axes.empty()) row.push_back(cell_text(own));
  const std::string left =
      value.left_out > 0 ? " (" + text::count(value.left_out) + " left out)" : "";
  row.push_back(text::count(value.n) + left);
  row.push_back(value.right < 0 ? "" : text::count(value.right));
  row.push_back(value_text(value));
  const bool is_reference = value.value && value.reference < 0 && references.count(int(cell)) != 0;
  row.push_back(is_reference ? "reference" : difference_text(value, report, references.size() > 1));
  return row;
}

}  // namespace

std::vector<std::vector<std::string>> score_rows(const Report& report) {
  std::size_t values = 0;
  for (const ReportCell& cell : report.cells) values = std::max(values, cell.scores.size());
  std::vector<std::vector<std::string>> rows;
  if (values == 0) return rows;
  const std::vector<std::string> axes = varied_axes(report);
  const std::set<int> references = references_of(report);
  std::vector<std::string> header = {"score"};
  header.insert(header.end(), axes.begin(), axes.end());
  if (axes.empty()) header.emplace_back("cell");
  for (const char* column : {"n", "right", "value", "difference"}) header.emplace_back(column);
  rows.push_back(std::move(header));
  for (std::size_t v = 0; v < values; ++v) {
    for (std::size_t c = 0; c < report.cells.size(); ++c) {
      const auto& own = report.cells[c].scores;
      if (v < own.size()) rows.push_back(row_of(report, c, own[v], axes, references));
    }
  }
  return rows;
}

std::vector<std::string> score_notes(const Report& report) {
  const std::set<int> references = references_of(report);
  std::vector<std::string> out;
  if (!references.empty()) {
    out.emplace_back(
        "value ± standard error over prompts; difference from the reference (+ right here alone, - "
        "right there alone, p of McNemar's exact test)");
  }
  constexpr std::size_t kMost = 5;
  for (const int cell : references) {
    if (out.size() > kMost) {
      out.push_back("and " + text::count(std::int64_t(references.size() + 1 - out.size())) +
                    " more references");
      break;
    }
    if (std::size_t(cell) >= report.cells.size()) continue;
    out.push_back("reference: " + cell_text(report.cells[std::size_t(cell)]));
  }
  return out;
}

}  // namespace isobit
