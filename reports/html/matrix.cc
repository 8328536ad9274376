// The matrix of cells, coloured by class and folded by axis, readable without a script
// (sections.h).
#include <algorithm>
#include <map>
#include <set>

#include "reports/describe.h"
#include "reports/html/sections.h"
#include "runtime/base/text.h"

namespace isobit::html {
namespace {

constexpr std::size_t kMostColumns = 12;
constexpr std::size_t kMostOpen = 80;  // cells of a fold that is open by itself

/// How the axes are laid out: all but the last two are folds.
struct Layout {
  std::vector<std::string> folds;
  std::string rows, columns;  // empty: no such axis
};

std::string value_of(const ReportCell& cell, const std::string& axis) {
  const auto found = cell.axes.find(axis);
  return found == cell.axes.end() ? "" : found->second;
}

/// Values of an axis in the order of the cells.
std::vector<std::string> values_of(const Report& report, const std::vector<int>& cells,
                                   const std::string& axis) {
  std::vector<std::string> out;
  std::set<std::string> seen;
  for (const int cell : cells) {
    const std::string value = value_of(report.cells[std::size_t(cell)], axis);
    if (seen.insert(value).second) out.push_back(value);
  }
  return out;
}

/// Axes over which some rule demands equal bits.
std::set<std::string> axes_across(const Report& report, const std::vector<std::string>& varied) {
  std::set<std::string> out;
  for (const GroupResult& group : report.groups) {
    if (!group.rule.starts_with("same_bits")) continue;
    for (const std::string& axis : varied) {
      if (values_of(report, group.cells, axis).size() > 1) out.insert(axis);
    }
  }
  return out;
}

/// Fixed axes fold, and of those that a rule ranges over the two with most values are the table.
Layout layout_of(const Report& report, const std::vector<int>& all) {
  const std::vector<std::string> varied = varied_axes(report);
  const std::set<std::string> across = axes_across(report, varied);
  std::vector<std::pair<std::string, std::size_t>> order;  // of the table first
  for (const std::string& axis : varied) {
    order.emplace_back(axis, values_of(report, all, axis).size());
  }
  std::stable_sort(order.begin(), order.end(), [&](const auto& a, const auto& b) {
    const bool in_a = across.count(a.first) != 0, in_b = across.count(b.first) != 0;
    return in_a != in_b ? in_a : a.second > b.second;
  });
  Layout out;
  if (!order.empty()) out.columns = order[0].first;
  if (order.size() > 1) out.rows = order[1].first;
  if (order.size() > 1 && order[0].second > kMostColumns) std::swap(out.rows, out.columns);
  for (std::size_t i = order.size(); i > 2; --i) out.folds.push_back(order[i - 1].first);
  return out;
}

Markup square_link(const Report& report, int index, const Place& place) {
  const ReportCell& cell = report.cells[std::size_t(index)];
  const std::string label = cell.class_label.empty() ? "-" : cell.class_label;
  const bool plain = cell.verdict == Verdict::pass;
  Markup inside = text(label);
  if (!plain) inside += tag("small", text(name_of(cell.verdict)));
  return tag("a",
             {{"class", "k " + class_colour(label) + (is_red(cell.verdict) ? " bad" : "")},
              {"href", "#" + cell_id(place, index)}},
             inside);
}

Markup leaf(const Report& report, const std::vector<int>& cells, const Layout& layout,
            const Place& place, const std::string& where) {
  const std::vector<std::string> columns = values_of(report, cells, layout.columns);
  const std::vector<std::string> rows = values_of(report, cells, layout.rows);
  std::map<std::pair<std::string, std::string>, Markup> squares;
  for (const int cell : cells) {
    const ReportCell& own = report.cells[std::size_t(cell)];
    squares[{value_of(own, layout.rows), value_of(own, layout.columns)}] +=
        square_link(report, cell, place);
  }
  const std::string corner =
      layout.rows.empty() ? layout.columns : layout.rows + " \\ " + layout.columns;
  Markup head = tag("th", {{"scope", "col"}}, text(corner));
  for (const std::string& value : columns) head += tag("th", {{"scope", "col"}}, text(value, 60));
  Markup body;
  for (const std::string& row : rows) {
    Markup line = tag("th", {{"scope", "row"}}, text(layout.rows.empty() ? "class" : row, 60));
    for (const std::string& column : columns) {
      const auto at = squares.find({row, column});
      line += tag("td", at == squares.end() ? text("·") : at->second);
    }
    body += tag("tr", line) + trusted("\n");
  }
  const std::string name = where.empty() ? "Cells by class" : "Cells by class, " + where;
  return scroll(name, tag("table", {{"class", "matrix"}},
                          tag("caption", {{"class", "hidden"}}, text(name)) +
                              tag("thead", tag("tr", head)) + tag("tbody", body)));
}

/// "8 cells, classes A B, 2 red"
Markup summary_of(const Report& report, const std::vector<int>& cells, const std::string& axis,
                  const std::string& value) {
  std::vector<std::string> classes;
  std::int64_t red = 0;
  for (const int index : cells) {
    const ReportCell& cell = report.cells[std::size_t(index)];
    red += is_red(cell.verdict) ? 1 : 0;
    if (std::find(classes.begin(), classes.end(), cell.class_label) == classes.end()) {
      classes.push_back(cell.class_label);
    }
  }
  Markup out = tag("b", text(axis + " " + value, 80)) +
               text(" " + text::count(std::int64_t(cells.size()), "cell") + " ");
  constexpr std::size_t kMost = 8;
  for (std::size_t i = 0; i < std::min(classes.size(), kMost); ++i) out += class_square(classes[i]);
  if (classes.size() > kMost) out += text(" …");
  if (red > 0)
    out += text(" ") + tag("span", {{"class", "badge red"}}, text(text::count(red) + " red"));
  return out;
}

bool any_red(const Report& report, const std::vector<int>& cells) {
  return std::any_of(cells.begin(), cells.end(),
                     [&](int cell) { return is_red(report.cells[std::size_t(cell)].verdict); });
}

Markup folded(const Report& report, const std::vector<int>& cells, const Layout& layout,
              std::size_t depth, const Place& place, const std::string& where) {
  if (depth == layout.folds.size()) return leaf(report, cells, layout, place, where);
  const std::string& axis = layout.folds[depth];
  Markup out;
  for (const std::string& value : values_of(report, cells, axis)) {
    std::vector<int> inside;
    for (const int cell : cells) {
      if (value_of(report.cells[std::size_t(cell)], axis) == value) inside.push_back(cell);
    }
    const bool open = any_red(report, inside) || report.cells.size() <= kMostOpen;
    const std::string here = (where.empty() ? "" : where + ", ") + axis + " " + value;
    out += fold(summary_of(report, inside, axis, value),
                folded(report, inside, layout, depth + 1, place, here), open, "axis");
  }
  return out;
}

Markup legend(const Report& report) {
  std::map<std::string, std::int64_t> cells;
  std::vector<std::string> order;
  for (const ReportCell& cell : report.cells) {
    if (++cells[cell.class_label] == 1) order.push_back(cell.class_label);
  }
  Markup items;
  constexpr std::size_t kMost = 24;
  for (std::size_t i = 0; i < std::min(order.size(), kMost); ++i) {
    const std::string what = order[i] == "!" ? "failed, " : order[i] == "-" ? "not run, " : "";
    items +=
        tag("li", class_square(order[i]) + text(" " + what + text::count(cells[order[i]], "cell")));
  }
  if (order.size() > kMost) {
    items += tag("li", text("and " + text::count(std::int64_t(order.size() - kMost)) + " more"));
  }
  return tag("ul", {{"class", "legend"}}, items);
}

}  // namespace

std::string class_colour(const std::string& label) {
  constexpr int kColours = 9;
  if (label == "!") return "kf";
  if (label.empty() || label[0] < 'A' || label[0] > 'Z') return "kn";
  int n = 0;
  for (const char c : label) n = (n * 26 + (c - 'A') + 1) % 100'000;
  return "k" + std::to_string((n - 1) % kColours);
}

Markup class_square(const std::string& label) {
  return tag("span", {{"class", "k " + class_colour(label)}}, text(label.empty() ? "-" : label, 8));
}

std::string cell_id(const Place& place, int cell) {
  return place.id("c" + std::to_string(cell));
}

Section matrix_section(const Report& report, const Place& place) {
  const std::string id = place.id("matrix");
  Markup out = heading(place.level, "Matrix of cells", id);
  out += paragraph(
      "Each square is a cell. Squares with the same letter and colour gave the same bits in every "
      "token; a name under the letter is a verdict other than PASS. A square leads to its row in "
      "the table of cells.");
  std::vector<int> all;
  for (std::size_t i = 0; i < report.cells.size(); ++i) all.push_back(int(i));
  if (all.empty()) return {id, "Matrix of cells", out + paragraph("There are no cells.")};
  out += legend(report);
  const Layout layout = layout_of(report, all);
  out += tag("div",
             {{"class", "grid"},
              {"data-report", std::to_string(place.report)},
              {"data-rows", layout.rows},
              {"data-columns", layout.columns}},
             folded(report, all, layout, 0, place, ""));
  return {id, "Matrix of cells", out};
}

}  // namespace isobit::html
