// What the page's scripts read, as JSON (sections.h). Every text in it is printable; html.cc makes
// the whole safe inside its element.
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "reports/describe.h"
#include "reports/html/sections.h"
#include "runtime/base/text.h"

namespace isobit::html {
namespace {

using Json = nlohmann::ordered_json;

/// Six significant digits; null for what JSON cannot hold.
Json figure(double value) {
  if (!std::isfinite(value)) return nullptr;
  return Json::parse(number(value), nullptr, false);
}

Json side(const ReportSide& side) {
  if (side.digest.empty()) return nullptr;
  Json top = Json::array();
  for (const auto& [id, logit] : side.top) top.push_back({id, figure(logit)});
  return {{"id", side.id}, {"margin", figure(side.margin)}, {"top", top}};
}

Json window(const Report& report, const ReportWindow& window) {
  Json rows = Json::array();
  for (const ReportRow& row : window.rows) {
    rows.push_back({{"position", row.position},
                    {"differs", window.missing.empty() && row.differs()},
                    {"a", side(row.a)},
                    {"b", side(row.b)}});
  }
  const ReportLayers& layers = window.layers;
  Json first = Json::array(), names = Json::array();
  for (std::size_t i = 0; i < layers.layers.size(); ++i) names.push_back(layer_name(layers, i));
  for (const std::string& place : layers.first) first.push_back(text::printable(place));
  return {{"first", report.cells[std::size_t(window.cell)].divergence.position},
          {"rows", rows},
          {"layers",
           {{"positions", layers.positions},
            {"layers", layers.layers},
            {"names", names},
            {"compared", layers.compared},
            {"differing", layers.differing},
            {"first", first}}}};
}

Json histogram(const Histogram& histogram) {
  Json series = Json::array();
  for (std::size_t i = 0; i < histogram.series.size(); ++i) {
    series.push_back(
        {{"name", text::printable(histogram.series[i], 120)}, {"counts", histogram.counts[i]}});
  }
  return {{"unit", histogram.unit}, {"steps", histogram.steps}, {"series", series}};
}

Json drift(const std::vector<DriftLine>& lines) {
  Json out = Json::array();
  for (const DriftLine& line : lines) {
    Json points = Json::array();
    for (const auto& [layer, distance] : line.points) points.push_back({layer, figure(distance)});
    out.push_back({{"name", text::printable(line.name, 120)}, {"points", points}});
  }
  return out;
}

/// Axes that vary with their values, and of each cell the places of its values.
void add_cells(const Report& report, Json& out) {
  const std::vector<std::string> axes = varied_axes(report);
  Json names = Json::array(), cells = Json::array();
  std::vector<std::vector<std::string>> values(axes.size());
  for (const std::string& axis : axes) names.push_back(text::printable(axis));
  for (const ReportCell& cell : report.cells) {
    Json places = Json::array();
    for (std::size_t i = 0; i < axes.size(); ++i) {
      const auto found = cell.axes.find(axes[i]);
      const std::string value = found == cell.axes.end() ? "" : found->second;
      auto at = std::find(values[i].begin(), values[i].end(), value);
      if (at == values[i].end()) at = values[i].insert(values[i].end(), value);
      places.push_back(at - values[i].begin());
    }
    const bool plain = cell.verdict == Verdict::pass;
    cells.push_back({places, text::printable(cell.class_label), class_colour(cell.class_label),
                     plain ? "" : name_of(cell.verdict), is_red(cell.verdict) ? 1 : 0});
  }
  Json printable = Json::array();
  for (const auto& list : values) {
    Json shown = Json::array();
    for (const std::string& value : list) shown.push_back(text::printable(value, 60));
    printable.push_back(shown);
  }
  out["axes"] = names;
  out["values"] = printable;
  out["cells"] = cells;
}

}  // namespace

std::string data_json(const std::vector<Report>& reports) {
  Json all = Json::array();
  for (const Report& report : reports) {
    Json one = Json::object();
    add_cells(report, one);
    one["windows"] = Json::array();
    for (const ReportWindow& each : report.detail.windows) {
      one["windows"].push_back(window(report, each));
    }
    one["histograms"] = Json::array();
    for (const Histogram& each : histograms_of(report))
      one["histograms"].push_back(histogram(each));
    one["drifts"] = Json::array();
    for (const auto& lines : drifts_of(report)) one["drifts"].push_back(drift(lines));
    all.push_back(std::move(one));
  }
  return all.dump(-1, ' ', true, Json::error_handler_t::replace);
}

}  // namespace isobit::html
