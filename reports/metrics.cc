// The sentences of measured groups (describe.h).
#include <algorithm>

#include "harness/metric.h"
#include "reports/describe.h"
#include "runtime/base/text.h"

namespace isobit {
namespace {

/// "Std@Acc" of "Std@Acc, arXiv …".
std::string name_in_source(const MetricEntry& entry) {
  const std::string source = entry.source;
  return source.substr(0, source.find(','));
}

std::string value_text(const MetricValue& value, const MetricEntry* entry) {
  if (!value.value) return "none: " + text::printable(value.reason);
  std::string out = text::number(*value.value);
  if (value.error) {
    char error[32];
    std::snprintf(error, sizeof error, "%.2g", *value.error);
    out += std::string(" ± ") + error;
  }
  if (entry != nullptr) out += std::string(" ") + entry->unit;
  return out;
}

}  // namespace

std::string basis_text(const MeasuredGroup& group) {
  std::string out = text::count(group.configurations, "configuration");
  if (group.lost > 0) out += " (" + text::count(group.lost) + " without a result)";
  if (group.samples != 1) out += ", " + text::count(group.samples, "sample");
  out += ", " + text::count(group.prompts, "prompt");
  if (group.left_out > 0) out += " (" + text::count(group.left_out) + " left out)";
  if (group.unselected_cells > 0) {
    out += ", " + unselected_text(group.unselected_cells, std::int64_t(group.cells.size()));
  }
  return out;
}

std::vector<std::string> metric_lines(const MeasuredGroup& group) {
  std::size_t names = 0;
  for (const MetricValue& value : group.values) names = std::max(names, value.metric.size());
  std::vector<std::string> out;
  for (const MetricValue& value : group.values) {
    const MetricEntry* entry = find_metric(value.metric);
    std::string line = text::printable(value.metric);
    line.resize(std::max(line.size(), names), ' ');
    line += "  " + value_text(value, entry);
    if (entry != nullptr && value.value) line += "   " + name_in_source(*entry);
    if (value.value && value.prompts != group.prompts) {
      line += ", " + text::count(value.prompts, "prompt");
    }
    out.push_back(line);
  }
  return out;
}

}  // namespace isobit
