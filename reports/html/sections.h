// The sections of the page, each a pure function of one report. html.cc puts them together.
#pragma once

#include <string>
#include <vector>

#include "reports/html/markup.h"
#include "reports/report.h"

namespace isobit::html {

/// Where a report stands on the page.
struct Place {
  int report = 0;  // index, for ids and for the data block
  int level = 2;   // of its sections' headings
  /// "r0-cells", unique on the page.
  [[nodiscard]] std::string id(const std::string& name) const {
    return "r" + std::to_string(report) + "-" + name;
  }
};

/// What a section is called in the list of contents, and itself.
struct Section {
  std::string id, title;
  Markup content;
};

/// Verdict, question, counts, what agreement can have missed, notes. (verdict.cc)
Markup verdict_banner(const Report& report, const Place& place);
/// All that is red, and what it means for somebody new. (failures.cc)
Section failures_section(const Report& report, const Place& place);
/// Cells coloured by class, folded by axis. (matrix.cc)
Section matrix_section(const Report& report, const Place& place);
/// Histograms of first divergences and margins. (histograms.cc)
Section histograms_section(const Report& report, const Place& place);
/// Metrics, drift by layer, scores, ensembles, cost; empty content: nothing was asked for.
/// (measures.cc)
Section measures_section(const Report& report, const Place& place);
/// This machine, and what an earlier run's had else. (environment.cc)
Section environment_section(const Report& report, const Place& place);
/// Every group and every cell, sortable. (tables.cc)
Section groups_section(const Report& report, const Place& place);
Section cells_section(const Report& report, const Place& place);
/// What the words mean. (verdict.cc)
Section words_section(int level);

/// Token by token, both sides, with the heatmap of layers. (window.cc)
Markup window_part(const Report& report, std::size_t window, const Place& place);

/// What the scripts read: cells by their axes, windows, histograms, drifts. (data.cc)
std::string data_json(const std::vector<Report>& reports);

/// The square of a class: its letter on its colour.
Markup class_square(const std::string& label);
/// "k3": the colour of a class; "kf" it failed, "kn" it did not run.
std::string class_colour(const std::string& label);
/// The badge of a verdict.
Markup verdict_badge(Verdict verdict, Severity severity);
/// "red", "open", "fine" or "left".
std::string tone_of(Verdict verdict);
/// The id of a cell's row.
std::string cell_id(const Place& place, int cell);
/// A place for a chart, which a script fills; `n`: which of its kind.
Markup chart(const std::string& kind, const Place& place, std::size_t n, const std::string& label);

/// "embed", "3", "end": the n-th of the layers.
std::string layer_name(const ReportLayers& layers, std::size_t n);

/// A histogram as a script and a table show it.
struct Histogram {
  std::string title, unit;                        // of what is counted
  std::vector<std::string> steps;                 // names of its bars
  std::vector<std::string> series;                // names
  std::vector<std::vector<std::int64_t>> counts;  // (series, steps)
};
std::vector<Histogram> histograms_of(const Report& report);

/// Pairs whose layers are told, at most as many as a page bears.
struct DriftLine {
  std::string name;                                     // "kv=q8_0 against kv=exact, h2"
  std::vector<std::pair<std::int32_t, double>> points;  // layer, mean distance
};
std::vector<std::vector<DriftLine>> drifts_of(const Report& report);  // by measured group

}  // namespace isobit::html
