// The sentences and tables of measured pairs (describe.h).
#include <algorithm>
#include <map>
#include <optional>

#include "harness/metric.h"
#include "reports/describe.h"
#include "runtime/base/text.h"

namespace isobit {
namespace {

constexpr std::size_t kFewLayers = 12;  // of a table that is told whole

std::string parts_text(const MetricValue& value) {
  std::string out;
  for (const auto& [name, number] : value.parts) {
    out += (out.empty() ? "   " : ", ") + text::printable(name) + " " + text::number(number);
  }
  return out;
}

std::vector<std::string> table_lines(const MeasuredPair& pair, bool whole) {
  const std::vector<LayerDrift> drifts = layer_drifts(pair);
  if (drifts.empty()) return {};
  std::vector<std::string> out = {
      "layer  site    rows     mean distance  relative     largest      added"};
  const std::size_t ends = kFewLayers / 2;
  for (std::size_t i = 0; i < drifts.size(); ++i) {
    const bool shown =
        whole || drifts.size() <= kFewLayers || i < ends || i + ends >= drifts.size();
    if (i == ends && !shown) {
      out.push_back("  and " + text::count(std::int64_t(drifts.size() - kFewLayers), "row") +
                    " between: -v shows all");
    }
    if (!shown) continue;
    const LayerDrift& one = drifts[i];
    const auto number = [](const std::optional<double>& value) {
      return value ? text::number(*value) : std::string("-");
    };
    std::string line = std::to_string(one.layer);
    const auto column = [&line](std::size_t width, const std::string& text) {
      line.resize(std::max(line.size() + 1, width), ' ');
      line += text;
    };
    column(7, text::printable(one.site));
    column(15, std::to_string(one.rows));
    column(24, text::number(one.mean_distance));
    column(39, number(one.relative));
    column(52, text::number(one.max_abs));
    column(65, number(one.added));
    if (one.evicted > 0) line += "  " + text::count(one.evicted) + " evicted";
    out.push_back(line);
  }
  return out;
}

std::string value_line(const MetricValue& value, std::size_t width) {
  const MetricEntry* entry = find_metric(value.metric);
  std::string line = text::printable(value.metric);
  line.resize(std::max(line.size(), width), ' ');
  line += "  ";
  if (!value.value) return line + "none: " + text::printable(value.reason) + parts_text(value);
  line += text::number(*value.value);
  if (value.error) {
    char error[32];
    std::snprintf(error, sizeof error, "%.2g", *value.error);
    line += std::string(" ± ") + error;
  }
  if (entry != nullptr) line += std::string(" ") + entry->unit;
  if (value.metric == entry_of(Metric::tokens_per_second).name) {
    line += ", a fact of this execution";
  }
  return line + parts_text(value);
}

}  // namespace

std::vector<LayerDrift> layer_drifts(const MeasuredPair& pair) {
  std::map<std::pair<std::int32_t, std::string>, double> means;
  const auto mean = [](double sum, std::int64_t rows) { return rows > 0 ? sum / double(rows) : 0; };
  for (const LayerSum& sum : pair.layers) {
    means[{sum.layer, sum.site}] = mean(sum.distance, sum.rows);
  }
  const auto before = [&](std::int32_t layer, const char* site) -> std::optional<double> {
    if (layer < 0) {  // what enters the first layer: equal tokens, but weights may differ
      const auto embed = means.find({-1, "embed"});
      return embed != means.end() ? embed->second : std::optional<double>();
    }
    const auto at = means.find({layer, site});
    return at != means.end() ? std::optional<double>(at->second) : std::nullopt;
  };
  std::vector<LayerDrift> out;
  for (const LayerSum& sum : pair.layers) {
    LayerDrift& one = out.emplace_back();
    one.layer = sum.layer, one.site = sum.site;
    one.rows = sum.rows, one.evicted = sum.evicted;
    one.mean_distance = mean(sum.distance, sum.rows);
    if (sum.norm > 0) one.relative = sum.distance / sum.norm;
    one.max_abs = sum.max_abs;
    std::optional<double> from;
    if (sum.site == "h1") from = before(sum.layer - 1, "h2");
    if (sum.site == "h2") from = before(sum.layer, "h1");
    if (from) one.added = one.mean_distance - *from;
  }
  return out;
}

std::vector<std::string> measured_pair_lines(const MeasuredGroup& group, bool whole) {
  std::vector<std::string> out;
  const IdentityControl& control = group.control;
  if (control.pairs > 0 || !control.problem.empty()) {
    std::string line = "identity control: " + std::to_string(control.exact) + " of " +
                       text::count(control.pairs, "pair") + " exactly 0";
    if (!control.problem.empty()) {
      line += ". ERROR in the harness, no number is given: " + text::printable(control.problem);
    }
    out.push_back(line);
  }
  for (const MeasuredPair& pair : group.pairs) {
    std::string head =
        text::printable(pair.configuration) + " against " + text::printable(pair.reference);
    if (!pair.problem.empty()) {
      out.push_back(head + ": none, " + text::printable(pair.problem));
      continue;
    }
    if (!pair.rows.empty()) {
      head += ": " + text::count(std::int64_t(pair.rows.size()), "aligned row");
    }
    out.push_back(head);
    std::size_t width = 0;
    for (const MetricValue& value : pair.values) width = std::max(width, value.metric.size());
    for (const MetricValue& value : pair.values) out.push_back("  " + value_line(value, width));
    for (const std::string& line : table_lines(pair, whole)) out.push_back("  " + line);
  }
  return out;
}

}  // namespace isobit
