// Metrics of groups and pairs, drift by layer, scores, ensembles and cost (sections.h).
#include <algorithm>
#include <map>

#include "harness/metric.h"
#include "reports/describe.h"
#include "reports/html/sections.h"
#include "runtime/base/text.h"

namespace isobit::html {
namespace {

constexpr std::size_t kMostPairs = 60;    // told of one measured group
constexpr std::size_t kMostLines = 12;    // of one chart
constexpr std::size_t kMostLayers = 400;  // rows of a table of layers

std::string value_words(const MetricValue& value) {
  if (!value.value) return "none: " + value.reason;
  std::string out = number(*value.value);
  if (value.error) out += " ± " + number(*value.error);
  return out;
}

TableRow metric_row(const MetricValue& value) {
  const MetricEntry* entry = find_metric(value.metric);
  std::string parts;
  for (const auto& [name, figure] : value.parts) {
    parts += (parts.empty() ? "" : ", ") + name + " " + number(figure);
  }
  return {{{text(value.metric), "", ""},
           {text(value_words(value), 300), value.value ? number(*value.value) : "", ""},
           {text(entry == nullptr ? "" : entry->unit), "", ""},
           {text(text::count(value.prompts)), "", ""},
           {text(parts, 300), "", ""},
           {text(entry == nullptr ? "" : entry->formula), "", ""}},
          "",
          ""};
}

Markup metrics_table(const std::string& caption, const std::vector<MetricValue>& values) {
  std::vector<TableRow> rows;
  for (const MetricValue& value : values) rows.push_back(metric_row(value));
  return rows.empty() ? Markup()
                      : table(caption,
                              {{"metric"},
                               {"value", true},
                               {"unit"},
                               {"prompts", true},
                               {"with it"},
                               {"formula"}},
                              rows);
}

std::string pair_name(const MeasuredPair& pair) {
  return pair.configuration + " against " + pair.reference;
}

/// Metrics of pairs, a row a pair and metric.
Markup pairs_table(const MeasuredGroup& group) {
  std::vector<TableRow> rows;
  for (std::size_t i = 0; i < std::min(group.pairs.size(), kMostPairs); ++i) {
    const MeasuredPair& pair = group.pairs[i];
    if (!pair.problem.empty()) {
      rows.push_back({{{text(pair_name(pair), 200), "", ""},
                       {},
                       {text("none: " + pair.problem, 300), "", ""},
                       {},
                       {},
                       {}},
                      "",
                      ""});
    }
    for (const MetricValue& value : pair.values) {
      TableRow row = metric_row(value);
      row.cells.pop_back();
      row.cells.insert(row.cells.begin(), {text(pair_name(pair), 200), "", ""});
      rows.push_back(std::move(row));
    }
  }
  if (rows.empty()) return {};
  Markup out = table(
      "Metrics of pairs, " + group.rule + " " + group.key,
      {{"pair"}, {"metric"}, {"value", true}, {"unit"}, {"prompts", true}, {"with it"}}, rows);
  if (group.pairs.size() > kMostPairs) {
    out += paragraph("and " + text::count(std::int64_t(group.pairs.size() - kMostPairs)) +
                     " more pairs: the JSON report holds all");
  }
  return out;
}

Markup drift_table(const MeasuredGroup& group) {
  std::vector<TableRow> rows;
  std::size_t left_out = 0;
  for (const MeasuredPair& pair : group.pairs) {
    for (const LayerDrift& one : layer_drifts(pair)) {
      if (rows.size() == kMostLayers) {
        ++left_out;
        continue;
      }
      const auto figure = [](const std::optional<double>& value) {
        return text(value ? number(*value) : "none");
      };
      rows.push_back({{{text(pair_name(pair), 200), "", ""},
                       {text(std::to_string(one.layer)), "", ""},
                       {text(one.site), "", ""},
                       {text(text::count(one.rows)), "", ""},
                       {text(number(one.mean_distance)), number(one.mean_distance), ""},
                       {figure(one.relative), "", ""},
                       {text(number(one.max_abs)), number(one.max_abs), ""},
                       {figure(one.added), "", ""}},
                      "",
                      ""});
    }
  }
  if (rows.empty()) return {};
  Markup out = table("Drift by layer, " + group.rule + " " + group.key,
                     {{"pair"},
                      {"layer", true},
                      {"site"},
                      {"rows", true},
                      {"mean distance", true},
                      {"relative", true},
                      {"largest", true},
                      {"added", true}},
                     rows);
  if (left_out > 0) {
    out += paragraph("and " + text::count(std::int64_t(left_out)) +
                     " more rows: the JSON report holds all");
  }
  return out;
}

Markup control_words(const IdentityControl& control) {
  if (control.pairs == 0 && control.problem.empty()) return {};
  std::string words = "Identity control: " + text::count(control.exact) + " of " +
                      text::count(control.pairs, "pair") +
                      " with equal bits at a distance of exactly 0.";
  if (!control.problem.empty())
    words += " Error in the harness, no number is given: " + control.problem;
  return paragraph(words);
}

Markup measured_part(const MeasuredGroup& group, std::size_t n, bool drifts, const Place& place) {
  Markup head = tag("code", text(group.rule));
  if (!group.key.empty()) head += text(" for ") + tag("code", text(group.key));
  const std::string level = "h" + std::to_string(place.level + 1);
  Markup out = tag(level.c_str(), head) + paragraph("Rests on " + basis_text(group) + ".");
  out += metrics_table("Metrics, " + group.rule + " " + group.key, group.values);
  out += control_words(group.control) + pairs_table(group);
  if (drifts) {
    out += chart("drift", place, n, "Mean distance of the residual stream, layer by layer");
    out += numbers(drift_table(group));
  }
  return tag("div", {{"class", "card"}}, out);
}

Markup notes_list(const std::vector<std::string>& notes) {
  Markup items;
  for (const std::string& note : notes) items += tag("li", text(note));
  return items.empty() ? items : tag("ul", {{"class", "notes"}}, items);
}

Markup ensembles(const Report& report, const Place& place) {
  Markup out;
  for (const GroupResult& group : report.groups) {
    const std::vector<std::string> lines = ensemble_lines(group);
    if (lines.empty()) continue;
    std::string block;
    Markup content;
    for (const std::string& line : lines) content += text(line) + trusted("\n");
    const std::string name = group.rule + (group.key.empty() ? "" : " for " + group.key);
    out += heading(place.level + 1, "Ensemble: " + name);
    out += scroll("Ensemble " + name, tag("pre", content));
  }
  return out;
}

}  // namespace

std::vector<std::vector<DriftLine>> drifts_of(const Report& report) {
  std::vector<std::vector<DriftLine>> out;
  for (const MeasuredGroup& group : report.measured) {
    std::vector<DriftLine>& lines = out.emplace_back();
    for (const MeasuredPair& pair : group.pairs) {
      std::map<std::string, DriftLine> by_site;
      for (const LayerDrift& one : layer_drifts(pair)) {
        DriftLine& line = by_site[one.site];
        line.name = pair_name(pair) + ", " + one.site;
        line.points.emplace_back(one.layer, one.mean_distance);
      }
      for (auto& [site, line] : by_site) {
        if (lines.size() < kMostLines && line.points.size() > 1) lines.push_back(std::move(line));
      }
    }
  }
  return out;
}

Section measures_section(const Report& report, const Place& place) {
  const std::string id = place.id("measures"), title = "Metrics, scores and cost";
  Markup out;
  const auto drifts = drifts_of(report);
  for (std::size_t i = 0; i < report.measured.size(); ++i) {
    out += measured_part(report.measured[i], i, !drifts[i].empty(), place);
  }
  for (const GroupResult& group : report.groups) {
    const std::vector<std::string> lines = pair_lines(group, report);
    if (lines.empty()) continue;
    Markup items;
    for (std::size_t i = 1; i < lines.size(); ++i) items += tag("li", text(lines[i]));
    out += heading(place.level + 1, group.rule + (group.key.empty() ? "" : " for " + group.key)) +
           paragraph(lines[0]) + tag("ul", items);
  }
  if (const auto rows = score_rows(report); !rows.empty()) {
    out += heading(place.level + 1, "Scores") + table_of("Scores", rows) +
           notes_list(score_notes(report));
  }
  out += ensembles(report, place);
  if (const auto rows = cost_rows(report); !rows.empty()) {
    out +=
        heading(place.level + 1, "Cost") + table_of("Cost", rows) + notes_list(cost_notes(report));
  }
  if (!out.empty()) out = heading(place.level, title, id) + out;
  return {id, title, out};
}

}  // namespace isobit::html
