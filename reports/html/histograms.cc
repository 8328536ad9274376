// Histograms of first divergences and margins: counts in a table, bars where scripts run
// (sections.h).
#include <algorithm>
#include <map>

#include "reports/describe.h"
#include "reports/html/sections.h"
#include "runtime/base/text.h"

namespace isobit::html {
namespace {

constexpr std::size_t kMostGroups = 6;  // series of a histogram
constexpr std::size_t kIndexSteps = 10;

std::string group_name(const GroupResult& group) {
  return group.rule + (group.key.empty() ? "" : " for " + group.key);
}

/// Ends of ten steps over the indices 0 … most: whole numbers, each step as wide as the others.
std::int64_t width_of_step(std::int64_t most) {
  return most / std::int64_t(kIndexSteps) + 1;
}

Histogram of_first_divergences(const Report& report) {
  Histogram out;
  const bool of_tokens = !of_operation(report);
  out.title = of_tokens ? "Generated token of the first difference" : "Row of the first difference";
  out.unit = of_tokens ? "prompts" : "shapes";
  std::int64_t most = -1;
  std::size_t groups = 0;
  for (const GroupResult& group : report.groups) {
    for (const std::int64_t index : group.divergence_index) most = std::max(most, index);
  }
  if (most < 0) return out;
  const std::int64_t width = width_of_step(most);
  for (std::int64_t from = 0; from <= most; from += width) {
    out.steps.push_back(width == 1 ? std::to_string(from)
                                   : std::to_string(from) + "–" + std::to_string(from + width - 1));
  }
  for (const GroupResult& group : report.groups) {
    std::vector<std::int64_t> counts(out.steps.size());
    bool any = false;
    for (const std::int64_t index : group.divergence_index) {
      if (index < 0) continue;
      ++counts[std::size_t(index / width)];
      any = true;
    }
    if (!any || ++groups > kMostGroups) continue;
    out.series.push_back(group_name(group));
    out.counts.push_back(std::move(counts));
  }
  return out;
}

std::vector<std::string> margin_steps() {
  std::vector<std::string> out;
  for (std::size_t i = 0; i < kMarginSteps.size(); ++i) {
    const std::string from = number(kMarginSteps[i]);
    out.push_back(i + 1 == kMarginSteps.size() ? "≥ " + from
                                               : from + " – " + number(kMarginSteps[i + 1]));
  }
  return out;
}

Histogram of_margins(const Report& report) {
  Histogram out{"Margin of every row", "rows", margin_steps(), {}, {}};
  for (const ReportMargins& each : report.detail.margins) {
    out.series.push_back("class " + each.class_label);
    out.counts.push_back(each.counts);
  }
  return out;
}

Histogram of_flip_margins(const Report& report) {
  Histogram out{"Margin at first flips", "flips", margin_steps(), {}, {}};
  for (const GroupResult& group : report.groups) {
    if (group.flip_margins.empty() || out.series.size() == kMostGroups) continue;
    std::vector<std::int64_t> counts(kMarginSteps.size());
    for (const float margin : group.flip_margins) {
      const double value = double(margin);
      if (!(value >= 0)) continue;
      const auto step = std::upper_bound(kMarginSteps.begin(), kMarginSteps.end(), value);
      ++counts[std::size_t(step - kMarginSteps.begin()) - 1];
    }
    out.series.push_back(group_name(group));
    out.counts.push_back(std::move(counts));
  }
  return out;
}

Markup counts_table(const Histogram& histogram) {
  std::vector<Column> columns = {{"from – below"}};
  if (histogram.title.find("irst difference") != std::string::npos) columns[0].title = "at";
  for (const std::string& name : histogram.series) columns.push_back({name, true});
  std::vector<TableRow> rows;
  for (std::size_t s = 0; s < histogram.steps.size(); ++s) {
    TableRow& row = rows.emplace_back();
    row.cells.push_back({text(histogram.steps[s]), "", ""});
    for (const auto& counts : histogram.counts) {
      row.cells.push_back({text(text::count(counts[s])), "", ""});
    }
  }
  return table(histogram.title + ", number of " + histogram.unit, columns, rows, "plain");
}

std::string words_of(const Histogram& histogram) {
  if (histogram.title == "Margin of every row") {
    return "How far ahead the best token was, in the first cell of each class. Rows at the small "
           "end are near ties: there a small difference changes the text.";
  }
  if (histogram.title == "Margin at first flips") {
    return "How far ahead the best token was where another one was drawn.";
  }
  return "Where each prompt parts first from the group's first cell.";
}

}  // namespace

std::vector<Histogram> histograms_of(const Report& report) {
  std::vector<Histogram> out;
  for (Histogram& each : std::vector<Histogram>{of_first_divergences(report), of_margins(report),
                                                of_flip_margins(report)}) {
    if (!each.series.empty()) out.push_back(std::move(each));
  }
  return out;
}

Section histograms_section(const Report& report, const Place& place) {
  const std::string id = place.id("histograms");
  Markup out = heading(place.level, "First divergences and margins", id);
  const std::vector<Histogram> all = histograms_of(report);
  const bool parted =
      std::any_of(report.groups.begin(), report.groups.end(), [](const auto& group) {
        return std::any_of(group.divergence_index.begin(), group.divergence_index.end(),
                           [](std::int64_t index) { return index >= 0; });
      });
  if (!parted)
    out += paragraph(
        "No prompt of any group parts from another: there is no first divergence to count.");
  for (std::size_t i = 0; i < all.size(); ++i) {
    Markup part = paragraph(words_of(all[i]));
    part += chart("histogram", place, i, all[i].title + ", number of " + all[i].unit);
    out += tag("div", {{"class", "card"}},
               heading(place.level + 1, all[i].title) + part + numbers(counts_table(all[i])));
  }
  return {id, "First divergences and margins", out};
}

}  // namespace isobit::html
