// Rows around a first difference, token by token with the top logits of both sides, and the heatmap
// of layers beside them (sections.h).
#include <algorithm>

#include "reports/describe.h"
#include "reports/html/sections.h"
#include "runtime/base/text.h"

namespace isobit::html {
namespace {

/// Enough of a cell for a caption: the start of its hash.
std::string short_name(const Report& report, const ReportWindow& window) {
  return "/" + report.cells[std::size_t(window.cell)].hash.substr(0, 8);
}

constexpr std::size_t kTop = 4;  // of the table; the chart has all

Markup top_text(const ReportSide& side) {
  std::string out;
  for (std::size_t i = 0; i < std::min(side.top.size(), kTop); ++i) {
    out += (i == 0 ? "" : ", ") + std::to_string(side.top[i].first) + ": " +
           number(side.top[i].second);
  }
  return text(out);
}

TableCell token_cell(const ReportSide& side) {
  if (side.digest.empty()) return {text("no row"), "", ""};
  return {text(side.id < 0 ? "none" : std::to_string(side.id)), "", ""};
}

TableCell margin_cell(const ReportSide& side) {
  if (side.digest.empty()) return {};
  return {text(number(side.margin)), "", ""};
}

/// "same bits", "other bits", "other token".
std::string state_of(const ReportRow& row, bool one_sided) {
  if (one_sided) return "";
  if (row.a.digest.empty() || row.b.digest.empty()) return "one side only";
  if (!row.same_inputs) return row.differs() ? "after a flip" : "same bits";
  if (row.a.id != row.b.id) return "other token";
  return row.differs() ? "other bits" : "same bits";
}

Markup rows_table(const Report& report, const ReportWindow& window) {
  const bool of_tokens = !of_operation(report);
  const bool one_sided = !window.missing.empty();
  std::vector<Column> columns = {{of_tokens ? "position" : "row", true}, {"bits"}};
  if (of_tokens) {
    for (const char* side : {"A", "B"}) {
      columns.push_back({std::string("token ") + side, true});
      columns.push_back({std::string("margin ") + side, true});
    }
    columns.push_back({"largest logits A"});
    columns.push_back({"largest logits B"});
  } else {
    columns.push_back({"digest A"});
    columns.push_back({"digest B"});
  }
  std::vector<TableRow> rows;
  const std::int64_t parting = report.cells[std::size_t(window.cell)].divergence.position;
  for (const ReportRow& row : window.rows) {
    TableRow& out = rows.emplace_back();
    if (row.position == parting) out.kind = "first";
    const std::string state = state_of(row, one_sided);
    out.cells = {
        {text(text::count(row.position)), "", ""},
        {text(state), "", state == "same bits" || state.empty() ? "state" : "state other"}};
    if (of_tokens) {
      for (const ReportSide* side : {&row.a, &row.b}) {
        out.cells.push_back(token_cell(*side));
        out.cells.push_back(margin_cell(*side));
      }
      out.cells.push_back({top_text(row.a), "", "long"});
      out.cells.push_back({top_text(row.b), "", "long"});
    } else {
      out.cells.push_back({tag("code", text(row.a.digest)), "", ""});
      out.cells.push_back({tag("code", text(row.b.digest)), "", ""});
    }
  }
  return table("Rows around the first difference at prompt " + window.prompt_id + " of " +
                   short_name(report, window),
               columns, rows, "plain");
}

/// The heatmap in words: a row a position.
Markup layers_table(const ReportLayers& layers, const std::string& caption) {
  std::vector<TableRow> rows;
  const std::size_t width = layers.layers.size();
  for (std::size_t p = 0; p < layers.positions.size(); ++p) {
    std::int64_t compared = 0, differing = 0, touched = 0;
    for (std::size_t l = 0; l < width; ++l) {
      compared += layers.compared[p * width + l];
      differing += layers.differing[p * width + l];
      touched += layers.differing[p * width + l] > 0 ? 1 : 0;
    }
    const bool equal = layers.first[p].empty();
    rows.push_back(
        {{{text(text::count(layers.positions[p])), "", ""},
          {text(equal ? "all equal" : layers.first[p]), "", equal ? "" : "other"},
          {text(text::count(touched) + " of " + text::count(std::int64_t(width))), "", ""},
          {text(text::count(differing) + " of " + text::count(compared)), "", ""}},
         "",
         ""});
  }
  return table(caption,
               {{"position", true},
                {"first that differs"},
                {"layers that differ", true},
                {"recorded rows that differ", true}},
               rows, "plain");
}

Markup layers_part(const Report& report, std::size_t n, const Place& place) {
  const ReportWindow& window = report.detail.windows[n];
  const ReportLayers& layers = window.layers;
  const std::string cell = short_name(report, window);
  if (layers.positions.empty() || layers.layers.empty()) {
    return paragraph(
        "No rows inside the model are stored for both sides, so there is no map of tokens and "
        "layers: “observe: layers” or “observe: ops” in the scenario records them, and isobit diff "
        "computes those of two cells again.");
  }
  const std::string what =
      "Where in the model bits differ; positions count from the prompt's first token, layers go "
      "from " +
      layer_name(layers, 0) + " to " + layer_name(layers, layers.layers.size() - 1);
  Markup out = chart("heatmap", place, n, what + ", of " + cell);
  return out + numbers(layers_table(layers,
                                    "Rows inside the model that differ, by position, of " + cell));
}

Markup texts_part(const ReportWindow& window) {
  if (window.text_a.empty() && window.text_b.empty()) return {};
  Markup out;
  for (const auto& [side, words] :
       {std::pair("A", &window.text_a), std::pair("B", &window.text_b)}) {
    if (words->empty()) continue;
    out += tag("dt", text(std::string("Text ") + side)) +
           tag("dd", tag("code", text(text::quoted(*words))));
  }
  return tag("dl", {{"class", "facts"}}, out);
}

}  // namespace

std::string layer_name(const ReportLayers& layers, std::size_t n) {
  const std::int32_t layer = layers.layers[n];
  if (layer < 0) return "embed";
  // Whatever level is recorded, the final norm is, and stands after the last layer.
  return n > 0 && n + 1 == layers.layers.size() ? "end" : std::to_string(layer);
}

Markup chart(const std::string& kind, const Place& place, std::size_t n, const std::string& label) {
  return tag("figure",
             {{"class", "chart"},
              {"data-chart", kind},
              {"data-report", std::to_string(place.report)},
              {"data-n", std::to_string(n)},
              {"data-label", label},
              {"hidden", ""}},
             tag("figcaption", text(label)));
}

Markup window_part(const Report& report, std::size_t n, const Place& place) {
  const ReportWindow& window = report.detail.windows[n];
  Markup sides = tag("dt", text("A")) + tag("dd", tag("code", text(window.name_a))) +
                 tag("dt", text("B")) + tag("dd", tag("code", text(window.name_b)));
  for (const ReportRow& row : window.rows) {
    if (!window.missing.empty() || !row.same_inputs || row.a.id == row.b.id) continue;
    sides += tag("dt", text("First flip")) +
             tag("dd", text("position " + text::count(row.position) + ", token " +
                            std::to_string(row.a.id) + " against " + std::to_string(row.b.id)));
    break;
  }
  Markup out = tag("dl", {{"class", "facts"}}, sides);
  if (!window.missing.empty()) out += sentence(window.missing);
  if (!window.rows.empty()) {
    const bool tops = std::any_of(window.rows.begin(), window.rows.end(), [](const ReportRow& row) {
      return !row.a.top.empty() || !row.b.top.empty();
    });
    const std::string cell = short_name(report, window);
    if (tops)
      out +=
          chart("timeline", place, n, "Largest logits of both sides, token by token, of " + cell);
    out += rows_table(report, window);
    if (window.before + window.after > 0) {
      out += paragraph(
          text::count(window.before) + " rows before and " + text::count(window.after) +
          " rows after are left out; isobit show " + std::to_string(report.run) + ":/" +
          report.cells[std::size_t(window.cell)].hash.substr(0, 8) + " -v lists all of this cell.");
    }
    out += texts_part(window);
    if (!of_operation(report) && window.missing.empty()) out += layers_part(report, n, place);
  }
  return fold(text("Token by token around prompt ") + tag("code", text(window.prompt_id, 80)), out,
              n == 0, "window");
}

}  // namespace isobit::html
