// Accuracy and cost in one table. Formulas: of an execution, tokens / seconds and (prompt tokens +
// tokens) / seconds; over executions, the median (of an even number the mean of the middle two).
#include <algorithm>
#include <cstdio>
#include <iterator>
#include <set>

#include "reports/describe.h"
#include "runtime/base/text.h"

namespace isobit {
namespace {

constexpr const char* kNotMeasured = "not measured";

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t n = values.size();
  return (values[(n - 1) / 2] + values[n / 2]) / 2;
}

/// Three digits that count: "0.123", "12.3", "1,234".
std::string rounded(double value) {
  if (value >= 100) return text::count(std::int64_t(value + 0.5));
  char buffer[32];
  std::snprintf(buffer, sizeof buffer, value >= 10 ? "%.1f" : value >= 1 ? "%.2f" : "%.3f", value);
  return buffer;
}

/// "12.3 (11.9 to 12.8)"
std::string spread(const std::vector<double>& values) {
  if (values.empty()) return kNotMeasured;
  const std::string middle = rounded(median(values));
  if (values.size() == 1) return middle;
  const auto [least, most] = std::minmax_element(values.begin(), values.end());
  return middle + " (" + rounded(*least) + " to " + rounded(*most) + ")";
}

/// One number an execution where there is one.
template <class F>
std::vector<double> each(const ReportCost& cost, const F& value) {
  std::vector<double> out;
  for (const ReportCost::Execution& one : cost.executions) {
    const double number = value(one);
    if (number > 0) out.push_back(number);
  }
  return out;
}

std::string bytes(std::int64_t count, const char* none) {
  constexpr std::int64_t kMebibyte = std::int64_t{1} << 20;
  if (count >= kMebibyte) return rounded(double(count) / double(kMebibyte)) + " MiB";
  return count > 0 ? rounded(double(count) / 1024) + " KiB" : none;
}

std::vector<std::string> row_of(const ReportCell& cell, const std::vector<std::string>& axes) {
  using Execution = ReportCost::Execution;
  const ReportCost& cost = cell.cost;
  std::vector<std::string> row;
  for (const std::string& axis : axes) {
    const auto found = cell.axes.find(axis);
    row.push_back(found == cell.axes.end() ? "" : found->second);
  }
  if (axes.empty()) row.push_back(cell_text(cell));
  row.push_back(cell.score.scored == 0
                    ? "no answers"
                    : text::count(cell.score.correct) + " of " + text::count(cell.score.scored));
  const auto a_second = [](std::int64_t tokens, const Execution& one) {
    return one.seconds > 0 ? double(tokens) / one.seconds : 0;
  };
  row.push_back(
      spread(each(cost, [&](const Execution& one) { return a_second(one.tokens, one); })));
  row.push_back(spread(each(
      cost, [&](const Execution& one) { return a_second(one.prompt_tokens + one.tokens, one); })));
  row.push_back(text::count(std::int64_t(cost.executions.size())));
  std::int64_t peak = 0;
  for (const Execution& one : cost.executions) peak = std::max(peak, one.peak_bytes);
  row.push_back(bytes(peak, kNotMeasured) + (cost.on_gpu && peak > 0 ? ", GPU" : ""));
  row.push_back(bytes(cost.weight_bytes, kNotMeasured));
  row.push_back(bytes(cost.cache_bytes, "none"));
  row.push_back(bytes(cost.moved_bytes, "none"));
  std::string energy =
      spread(each(cost, [](const Execution& one) { return double(one.energy_mj) / 1000; }));
  if (energy != kNotMeasured) energy += ", " + cost.energy_source;
  row.push_back(energy);
  return row;
}

}  // namespace

std::vector<std::string> varied_axes(const Report& report) {
  std::map<std::string, std::set<std::string>> values;
  for (const ReportCell& cell : report.cells) {
    for (const auto& [axis, value] : cell.axes) values[axis].insert(value);
  }
  std::vector<std::string> out;
  for (const auto& [axis, seen] : values) {
    if (seen.size() > 1) out.push_back(axis);
  }
  return out;
}

std::vector<std::vector<std::string>> cost_rows(const Report& report) {
  std::vector<std::vector<std::string>> rows;
  if (!report.cost) return rows;
  const std::vector<std::string> axes = varied_axes(report);
  for (const ReportCell& cell : report.cells) {
    if (!cell.cost.executions.empty()) rows.push_back(row_of(cell, axes));
  }
  if (rows.empty()) return rows;
  std::vector<std::string> header = axes;
  if (axes.empty()) header.emplace_back("cell");
  for (const char* column : {"correct", "tokens/s", "with prompts", "runs", "peak memory",
                             "weight bytes", "kv bytes", "bytes moved", "energy, J"}) {
    header.emplace_back(column);
  }
  rows.insert(rows.begin(), std::move(header));
  return rows;
}

std::vector<std::string> cost_notes(const Report& report) {
  const auto any = [&](const auto& holds) {
    return std::any_of(report.cells.begin(), report.cells.end(), [&](const ReportCell& cell) {
      return !cell.cost.executions.empty() && holds(cell.cost);
    });
  };
  std::vector<std::string> out = {
      "tokens/s: generated tokens by the wall clock of the cell, load excluded; median of the "
      "runs (least to most)"};
  if (any([](const ReportCost& cost) { return !cost.on_gpu; })) {
    out.emplace_back(
        "peak memory: of the process that computed, kept weights of other cells included "
        "(--isolate: a process a cell)");
  }
  if (any([](const ReportCost& cost) { return cost.on_gpu; })) {
    out.emplace_back("peak memory, GPU: device memory that the engine held, all GPUs together");
  }
  if (any([](const ReportCost& cost) { return cost.moved_bytes > 0; })) {
    out.emplace_back("bytes moved: those that a rank sent to the others, least rank");
  }
  if (any([](const ReportCost& cost) { return !cost.energy_source.empty(); })) {
    out.emplace_back(
        "energy: of whole CPU packages (rapl) or GPUs (nvml), whatever else ran on them");
  }
  return out;
}

}  // namespace isobit
