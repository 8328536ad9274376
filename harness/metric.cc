// The table.
#include "harness/metric.h"

#include <algorithm>

namespace isobit {

const std::vector<MetricEntry>& all_metrics() {
  constexpr bool kOne = false, kSpread = true;
  static const std::vector<MetricEntry> table = {
      {Metric::accuracy, "accuracy", "%", "mean_c accuracy_c, accuracy_c = 100 correct / scored",
       "Accuracy", kOne, true},
      {Metric::std_accuracy, "std_accuracy", "points", "std_c accuracy_c",
       "Std@Acc, arXiv 2506.09501 section 3.1", kSpread, true},
      {Metric::output_length, "output_length", "tokens", "mean_i mean_c length_ic", "output length",
       kOne},
      {Metric::std_output_length, "std_output_length", "tokens", "mean_i std_c length_ic",
       "Avg_Std@Output_Length, arXiv 2506.09501 section 3.1", kSpread},
      {Metric::div_index, "div_index", "tokens",
       "mean over diverging prompts of the first index at which not all outputs agree",
       "Div_Index, arXiv 2506.09501 section 3.1", kSpread},
      {Metric::div_percent, "div_percent", "%", "100 diverging prompts / prompts",
       "Div_Percent, arXiv 2506.09501 section 3.2", kSpread},
      {Metric::std_top1_prob, "std_top1_prob", "probability",
       "mean_i mean_t std_c exp(top logit - log-sum-exp), t from 0 to Div_Index_i",
       "Avg_Std@top1_prob, arXiv 2506.09501 section 3.1", kSpread, false, true},
      {Metric::pass_at_1, "pass_at_1", "%", "mean_c pass_c, pass_c = 100 correct / scored samples",
       "Pass@1, arXiv 2506.09501 section 3.1", kOne, true, false, true},
      {Metric::std_pass_at_1, "std_pass_at_1", "points", "std_c pass_c",
       "std of Pass@1, arXiv 2506.09501 section 3.3", kSpread, true, false, true}};
  return table;
}

const MetricEntry& entry_of(Metric metric) {
  return all_metrics()[std::size_t(metric)];
}

const MetricEntry* find_metric(const std::string& name) {
  const auto at = std::find_if(all_metrics().begin(), all_metrics().end(),
                               [&](const MetricEntry& entry) { return entry.name == name; });
  return at == all_metrics().end() ? nullptr : &*at;
}

std::vector<std::string> metric_names() {
  std::vector<std::string> out;
  for (const MetricEntry& entry : all_metrics()) out.emplace_back(entry.name);
  return out;
}

}  // namespace isobit
