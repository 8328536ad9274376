// Requested against observed, and where along `rows` bits change (judge/operation.h).
#include "harness/judge/operation.h"

#include <algorithm>
#include <map>

namespace isobit {
namespace {

Judgement fail(const std::string& what, const std::string& asked, const std::string& ran) {
  return {Verdict::fail, Severity::none, what + " " + asked + " was asked, " + ran + " ran"};
}
Judgement mistrusted(const std::string& why) {
  return {Verdict::mistrusted, Severity::none, why};
}

Judgement check_number(const char* axis, std::int64_t asked, std::int64_t ran) {
  if (asked == ran) return {};
  return fail(axis, std::to_string(asked), std::to_string(ran));
}

std::string rows_text(std::int64_t rows) {
  return std::to_string(rows) + (rows == 1 ? " row" : " rows");
}

Judgement check_place(const OperationRequest& asked, const Observed& ran) {
  const std::string place = name_of(asked.place);
  if (place == ran.row_place) return {};
  // The last of several launches may have one watched row left, which stands scattered nowhere.
  if (asked.place == RowPlace::scattered && ran.row_place == "middle, scattered") return {};
  if (ran.live_rows < least_rows_for(asked.place)) {
    return mistrusted("a launch of " + rows_text(ran.live_rows) + " has no place that is " + place +
                      " and no other");
  }
  return fail("place", place, ran.row_place);
}

Judgement check_neighbours(const OperationRequest& asked, const Observed& ran) {
  const std::string data = name_of(asked.neighbours);
  if (data == ran.neighbour_data) return {};
  if (!ran.neighbour_data.empty()) return fail("neighbours", data, ran.neighbour_data);
  const bool usual = asked.neighbours == OperationRequest{}.neighbours;
  return usual ? Judgement{} : mistrusted("no launch had a row beside the watched ones");
}

/// Rows of one shape that differ.
struct Changed {
  std::string shape;
  std::int64_t differing = 0, rows = 0;
};

std::vector<Changed> changed_rows(const CellTrace& a, const CellTrace& b) {
  std::vector<Changed> out;
  for (std::size_t p = 0; p < std::min(a.prompts.size(), b.prompts.size()); ++p) {
    const auto &x = a.prompts[p].tokens, &y = b.prompts[p].tokens;
    Changed shape{a.prompts[p].id, 0, std::int64_t(std::min(x.size(), y.size()))};
    for (std::size_t i = 0; i < std::min(x.size(), y.size()); ++i) {
      shape.differing += x[i].digest == y[i].digest ? 0 : 1;
    }
    if (shape.differing > 0) out.push_back(std::move(shape));
  }
  return out;
}

std::string text_of(const std::vector<Changed>& shapes) {
  constexpr std::size_t kMost = 3;
  std::string out;
  for (std::size_t i = 0; i < std::min(shapes.size(), kMost); ++i) {
    out += (i == 0 ? "" : ", ") + std::to_string(shapes[i].differing) + " of " +
           rows_text(shapes[i].rows) + " of shape " + shapes[i].shape;
  }
  if (shapes.size() > kMost) {
    const std::size_t others = shapes.size() - kMost;
    out += " and of " + std::to_string(others) + (others == 1 ? " other shape" : " other shapes");
  }
  return out + (shapes.size() == 1 && shapes[0].differing == 1 ? " differs" : " differ");
}

/// The traces of cells by their rows.
using Series = std::map<std::int64_t, const CellTrace*>;

/// Neighbouring numbers of rows between which bits change.
struct Change {
  std::int64_t from = 0, to = 0;
  std::vector<Changed> shapes;
};

std::vector<Change> changes_of(const Series& series) {
  std::vector<Change> out;
  for (auto at = series.begin(); at != series.end() && std::next(at) != series.end(); ++at) {
    const auto next = std::next(at);
    std::vector<Changed> shapes = changed_rows(*at->second, *next->second);
    if (!shapes.empty()) out.push_back({at->first, next->first, std::move(shapes)});
  }
  return out;
}

std::string step_text(const Change& change) {
  return std::to_string(change.from) + " → " + std::to_string(change.to);
}

}  // namespace

Judgement check_operation_ran(const OperationRequest& asked, const Observed& ran) {
  if (ran.operation != name_of(asked.kind)) {
    return fail("operation", name_of(asked.kind),
                ran.operation.empty() ? "a model" : ran.operation);
  }
  if (ran.operand_data != name_of(asked.data)) {
    return fail("data", name_of(asked.data), ran.operand_data);
  }
  for (const Judgement& next : {check_number("rows", asked.rows, ran.live_rows),
                                check_number("align", asked.align, ran.operand_offset),
                                check_number("stride", asked.stride, ran.row_gap),
                                check_place(asked, ran), check_neighbours(asked, ran)}) {
    if (next.verdict != Verdict::pass) return next;
  }
  return {};
}

Judgement check_all_rows(const CellTrace& trace) {
  for (const PromptTrace& shape : trace.prompts) {
    for (std::int64_t row = 0; row < kWatchedRows; ++row) {
      const auto at = std::size_t(row);
      if (at < shape.tokens.size() && shape.tokens[at].position == row) continue;
      return {Verdict::fail, Severity::none,
              "shape " + shape.id + ": row " + std::to_string(row) + " is missing"};
    }
    if (std::int64_t(shape.tokens.size()) > kWatchedRows) {
      return {Verdict::fail, Severity::none, "shape " + shape.id + ": more rows than were watched"};
    }
  }
  return {};
}

std::string first_change(const JudgeInput& in, const std::vector<int>& members) {
  // Cells that are equal but for rows, each series by rows.
  std::map<std::string, Series> all;
  for (const int i : members) {
    const Cell& cell = in.matrix.cells[std::size_t(i)];
    std::string others;
    for (const auto& [axis, value] : cell.axes) {
      if (axis != "rows") others += axis + "=" + value.text + ",";
    }
    all[others][cell.requested().operation.rows] = &in.cells[std::size_t(i)].attempts.front();
  }
  std::vector<Change> first;
  for (const auto& [others, series] : all) {
    std::vector<Change> changes = changes_of(series);
    if (changes.empty()) continue;
    if (first.empty() || changes[0].to < first[0].to) first = std::move(changes);
  }
  if (first.empty()) return "";
  std::string out = "rows " + step_text(first[0]) + ": " + text_of(first[0].shapes);
  for (std::size_t i = 1; i < first.size(); ++i) {
    out += (i == 1 ? "; again " : ", ") + step_text(first[i]);
  }
  return out;
}

}  // namespace isobit
