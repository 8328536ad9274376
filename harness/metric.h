// The metrics that `measure` knows, of groups of configurations and of pairs: name, formula, unit
// and source of each, in one table for whoever reads scenarios, computes, reports and documents.
// Data only.
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
  std_pass_at_1,
  // Of pairs: a configuration against its reference.
  token_divergence,
  first_divergence,
  token_match,
  flip_rate,
  kl,
  kl_median,
  kl_p99,
  kl_max,
  js,
  total_variation,
  max_abs,
  mean_abs,
  max_ulp,
  margin_law,
  layer_drift,
  k_error,
  v_error,
  recovery,
  kv_bytes,
  weight_bytes,
  tokens_per_second
};

/// What a metric of pairs is computed from; `group`: it is none, but of all configurations at once.
enum class PairNeed : std::uint8_t {
  group,
  traces,  // tokens, and what the cells observed of themselves
  rows,    // distances of the logits rows
  layers,  // recorded values of h2, and of h1 for the increments
  keys,    // recorded values of k_seen
  values   // recorded values of v_seen
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
  PairNeed need = PairNeed::group;
  [[nodiscard]] bool of_pairs() const { return need != PairNeed::group; }
  /// Whether it needs logits rows or inner rows by value.
  [[nodiscard]] bool by_value() const { return need > PairNeed::traces; }
};

/// In the order of documentation, by Metric.
const std::vector<MetricEntry>& all_metrics();
const MetricEntry& entry_of(Metric metric);
/// nullptr when there is none of this name.
const MetricEntry* find_metric(const std::string& name);
std::vector<std::string> metric_names();

}  // namespace isobit
