// Every group, every cell and the environment, as tables that a script makes sortable (sections.h).
#include <algorithm>

#include "reports/describe.h"
#include "reports/html/sections.h"
#include "runtime/base/text.h"

namespace isobit::html {
namespace {

constexpr std::size_t kMostRows = 1500;
constexpr std::size_t kLetters = 60;
constexpr std::size_t kReason = 240;

std::string remark_of(const ReportCell& cell) {
  std::string out = cell.reason;
  const auto add = [&out](const std::string& more) {
    if (!more.empty()) out = out.empty() ? more : more + "; " + out;
  };
  if (cell.cached) add("cached" + (cell.cached_date.empty() ? "" : " " + cell.cached_date));
  add(origin_text(cell));
  return out;
}

/// Rank by which verdicts are sorted: red first.
std::string rank_of(Verdict verdict) {
  const std::string tone = tone_of(verdict);
  const int rank = tone == "red" ? 0 : tone == "open" ? 1 : tone == "left" ? 2 : 3;
  return std::to_string(rank * kVerdicts + int(verdict));
}

TableRow cell_row(const ReportCell& cell, int index, const std::vector<std::string>& axes,
                  const Place& place) {
  TableRow row{{}, cell_id(place, index), is_red(cell.verdict) ? "red" : ""};
  row.cells.push_back({tag("code", text(cell.hash.substr(0, 8))), "", ""});
  row.cells.push_back({verdict_badge(cell.verdict, cell.severity), rank_of(cell.verdict), ""});
  row.cells.push_back({class_square(cell.class_label), cell.class_label, ""});
  for (const std::string& axis : axes) {
    const auto found = cell.axes.find(axis);
    row.cells.push_back({text(found == cell.axes.end() ? "" : found->second, 80), "", ""});
  }
  row.cells.push_back({text(text::count(cell.tokens)), "", ""});
  row.cells.push_back({text(number(cell.seconds)), "", ""});
  row.cells.push_back({text(remark_of(cell), kReason), "", ""});
  return row;
}

TableRow group_row(const Report& report, const GroupResult& group) {
  const Verdict verdict = group.judgement.verdict;
  TableRow row{{}, "", is_red(verdict) ? "red" : ""};
  row.cells.push_back({text(group.rule, kReason), "", ""});
  row.cells.push_back({text(group.key, kReason), "", ""});
  row.cells.push_back({verdict_badge(verdict, group.judgement.severity), rank_of(verdict), ""});
  const std::string letters = text::truncate(letters_of(group, report), kLetters);
  row.cells.push_back({tag("code", text(letters)), "", ""});
  row.cells.push_back({text(text::count(group.compared_tokens)), "", ""});
  row.cells.push_back({text(text::count(group.differing)), "", ""});
  row.cells.push_back({text(text::count(group.flipped)), "", ""});
  row.cells.push_back({text(group.judgement.reason, kReason), "", ""});
  return row;
}

std::string earlier_words(const ReportDetail& detail) {
  const ReportEarlier& earlier = detail.earlier;
  if (!detail.read) return "";
  if (earlier.run == 0)
    return "The database holds no earlier run of this scenario to compare with.";
  std::string which = "run " + std::to_string(earlier.run) + " of " + earlier.started;
  which += earlier.exit_code == kExitOk ? ", the last green one of this scenario"
                                        : ", the last one of this scenario, which was not green";
  if (earlier.changes.empty())
    return "Nothing that is recorded of the machine differs from " + which + ".";
  return text::count(std::int64_t(earlier.changes.size()), "value") + " of the environment " +
         (earlier.changes.size() == 1 ? "differs" : "differ") + " from " + which +
         ": the first suspects, where a recipe is the same.";
}

}  // namespace

Section groups_section(const Report& report, const Place& place) {
  const std::string id = place.id("groups");
  std::vector<TableRow> rows;
  for (const GroupResult& group : report.groups) {
    if (rows.size() < kMostRows) rows.push_back(group_row(report, group));
  }
  Markup out = heading(place.level, "All groups", id);
  if (rows.empty()) return {id, "All groups", out + paragraph("The scenario has no groups.")};
  const bool of_tokens = !of_operation(report);
  out += table("Groups",
               {{"rule"},
                {"group"},
                {"verdict"},
                {"classes"},
                {of_tokens ? "tokens" : "rows", true},
                {"other bits", true},
                {"flips", true},
                {"remark"}},
               rows);
  return {id, "All groups", out};
}

Section cells_section(const Report& report, const Place& place) {
  const std::string id = place.id("cells");
  const std::vector<std::string> axes = varied_axes(report);
  Markup out = heading(place.level, "All cells", id);
  if (report.cells.empty()) return {id, "All cells", out + paragraph("There are no cells.")};
  std::string fixed;
  for (const auto& [axis, value] : report.cells.front().axes) {
    if (std::find(axes.begin(), axes.end(), axis) != axes.end()) continue;
    fixed += (fixed.empty() ? "" : ", ") + axis + " " + value;
  }
  if (!fixed.empty()) out += paragraph("The same in every cell: " + fixed + ".");
  out += paragraph(
      "isobit show " + std::to_string(report.run) +
      ":/CELL lists the tokens of a cell by the start of its hash; isobit diff compares two.");
  std::vector<Column> columns = {{"cell"}, {"verdict"}, {"class"}};
  for (const std::string& axis : axes) columns.push_back({axis});
  columns.push_back({of_operation(report) ? "rows" : "tokens", true});
  columns.push_back({"seconds", true});
  columns.push_back({"remark"});
  // What is red comes in any case.
  std::vector<TableRow> rows;
  std::size_t room = kMostRows;
  for (const ReportCell& cell : report.cells) room -= is_red(cell.verdict) && room > 0 ? 1 : 0;
  for (std::size_t i = 0; i < report.cells.size(); ++i) {
    const bool red = is_red(report.cells[i].verdict);
    if (rows.size() >= kMostRows || (!red && room == 0)) continue;
    if (!red) --room;
    rows.push_back(cell_row(report.cells[i], int(i), axes, place));
  }
  const std::size_t shown = rows.size();
  out += table("Cells", columns, rows, "sortable filtered");
  if (shown < report.cells.size()) {
    out += paragraph("and " + text::count(std::int64_t(report.cells.size() - shown)) +
                     " more cells: the JSON report holds all");
  }
  return {id, "All cells", out};
}

Section environment_section(const Report& report, const Place& place) {
  const std::string id = place.id("environment");
  Markup out = heading(place.level, "Environment", id);
  if (const std::string words = earlier_words(report.detail); !words.empty())
    out += paragraph(words);
  std::vector<std::vector<std::string>> changes = {{"name", "then", "now"}};
  for (const auto& [name, then, now] : report.detail.earlier.changes) {
    changes.push_back({name, then.empty() ? "none" : then, now.empty() ? "none" : now});
  }
  if (changes.size() > 1) out += table_of("What differs from the earlier run", changes);
  std::vector<std::vector<std::string>> all = {{"name", "value"}};
  for (const auto& [name, value] : report.environment) all.push_back({name, value});
  if (all.size() > 1) {
    out += fold(text("All that was recorded of this machine, " +
                     text::count(std::int64_t(all.size() - 1)) + " entries"),
                table_of("Environment of this run", all), false);
  }
  return {id, "Environment", out};
}

}  // namespace isobit::html
