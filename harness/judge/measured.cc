// The entries of `measure`: groups of cells to configurations, and these to metrics.
#include <algorithm>
#include <map>
#include <set>

#include "harness/judge/nondeterminism.h"
#include "harness/judge/steps.h"

namespace isobit::judge_steps {
namespace {

/// A group's cells by configuration and sample; both in the order of their first cells.
class Arranged {
 public:
  Arranged(const Judging& all, const Measure& measure, const Group& group) {
    for (const int i : group.cells) {
      const Cell& cell = all.in.matrix.cells[std::size_t(i)];
      std::string configuration;
      for (const std::string& axis : measure.across) configuration += cell.value(axis) + "\n";
      const std::string sample = measure.over.empty() ? "" : cell.value(measure.over);
      auto& traces = traces_of(configuration);
      if (std::find(samples_.begin(), samples_.end(), sample) == samples_.end()) {
        samples_.push_back(sample);
      }
      if (!is_comparable(all.cell(i), true)) continue;
      const bool has_values = all.trace(i).observed.evidence == name_of(Evidence::logits);
      if (has_values || !measure.needs_log_sums()) traces[sample] = &all.trace(i);
    }
    drop_what_is_missing();
  }

  /// Those with a result; samples that one of them lacks are in none.
  [[nodiscard]] std::vector<Configuration> configurations() const {
    std::vector<Configuration> out;
    for (const auto& [name, traces] : all_) {
      if (traces.empty()) continue;
      out.emplace_back();
      for (const std::string& sample : samples_) out.back().push_back(traces.at(sample));
    }
    return out;
  }

  [[nodiscard]] std::int64_t all() const { return std::int64_t(all_.size()); }
  [[nodiscard]] std::int64_t samples() const { return std::int64_t(samples_.size()); }

 private:
  using Traces = std::map<std::string, const CellTrace*>;

  Traces& traces_of(const std::string& configuration) {
    const auto at = std::find_if(all_.begin(), all_.end(),
                                 [&](const auto& one) { return one.first == configuration; });
    if (at != all_.end()) return at->second;
    return all_.emplace_back(configuration, Traces{}).second;
  }

  void drop_what_is_missing() {
    const auto lacked = [this](const std::string& sample) {
      return std::any_of(all_.begin(), all_.end(), [&](const auto& one) {
        return !one.second.empty() && one.second.count(sample) == 0;
      });
    };
    samples_.erase(std::remove_if(samples_.begin(), samples_.end(), lacked), samples_.end());
    if (!samples_.empty()) return;
    for (auto& [name, traces] : all_) traces.clear();  // no sample that all of them have
  }

  std::vector<std::pair<std::string, Traces>> all_;
  std::vector<std::string> samples_;
};

}  // namespace

std::vector<MeasuredGroup> measure_groups(Judging& all) {
  std::vector<MeasuredGroup> out;
  for (const Group& group : measured_groups(all.in.scenario, all.in.matrix)) {
    const Measure& measure = all.in.scenario.measures[std::size_t(group.rule)];
    const Arranged arranged(all, measure, group);
    const std::vector<Configuration> configurations = arranged.configurations();
    MeasuredGroup measured;
    measured.rule = measure.text();
    measured.key = group.key;
    measured.cells = group.cells;
    measured.unselected_cells = group.unselected;
    measured.configurations = std::int64_t(configurations.size());
    measured.lost = arranged.all() - measured.configurations;
    measured.samples = arranged.samples();
    measure_configurations(measure.metrics, configurations, measured, reply_score(all.in.scenario));
    if (measure.has_pairs()) measure_pairs(all, measure, group, measured);
    out.push_back(std::move(measured));
  }
  return out;
}

}  // namespace isobit::judge_steps
