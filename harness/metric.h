// The metrics of nondeterminism that `measure` knows: name, formula, unit and source of each, in
// one table for whoever reads scenarios, computes, reports and documents. Data only.
//
// Over configurations c = 1..C and prompts i = 1..N; std is the sample standard deviation, divisor
// C - 1. Names and definitions: Yuan et al., "Understanding and Mitigating Numerical Sources of
// Nondeterminism in LLM Inference", arXiv 2506.09501, section 3.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace isobit {

enum class Metric : std::uint8_t {
  accuracy,
  std_accuracy,
  output_length,
  std_output_length,
  div_index,
  div_percent,
  std_top1_prob,
  pass_at_1,
  std_pass_at_1
};

struct MetricEntry {
  Metric metric;
  const char* name;       // in scenarios, reports and the database
  const char* unit;       // of its value and standard error
  const char* formula;    // for people, on one line
  const char* source;     // the source's name of it, and where
  bool spreads = true;    // of configurations: needs two of them
  bool answers = false;   // of prompts with an answer
  bool log_sums = false;  // needs the log-sum-exp of each row
  bool samples = false;   // needs `over: seed`
};

/// In the order of documentation, by Metric.
const std::vector<MetricEntry>& all_metrics();
const MetricEntry& entry_of(Metric metric);
/// nullptr when there is none of this name.
const MetricEntry* find_metric(const std::string& name);
std::vector<std::string> metric_names();

}  // namespace isobit
