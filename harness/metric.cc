// The table.
#include "harness/metric.h"

#include <algorithm>
#include <iterator>

namespace isobit {
namespace {

constexpr const char* kA4 =
    "arXiv 2604.15409 (its formulas are not public; these are this project's)";
constexpr const char* kSplit = "error split, arXiv 2606.03458";
constexpr const char* kDirect = "arXiv 2603.19664 section 5";

constexpr MetricEntry of_pairs(Metric metric, const char* name, const char* unit,
                               const char* formula, const char* source, PairNeed need) {
  return {metric, name, unit, formula, source, false, false, false, false, need};
}

constexpr bool kOne = false, kSpread = true;
constexpr MetricEntry kOfGroups[] = {
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

/// Rows are aligned: of the same prompt and position, computed from equal tokens.
constexpr MetricEntry kOfPairs[] = {
    of_pairs(Metric::token_divergence, "token_divergence", "%",
             "100 prompts with any different token / prompts", kA4, PairNeed::traces),
    of_pairs(Metric::first_divergence, "first_divergence", "tokens",
             "mean_i of the first index, from 1, of a different token; length + 1 if none", kA4,
             PairNeed::traces),
    of_pairs(Metric::token_match, "token_match", "%",
             "100 positions with the reference's token / positions of the reference", kDirect,
             PairNeed::traces),
    of_pairs(Metric::flip_rate, "flip_rate", "%",
             "100 rows whose argmax differs / rows, teacher-forced", kA4, PairNeed::traces),
    of_pairs(Metric::kl, "kl", "nats", "mean over rows of sum p (log p - log q), p the reference's",
             kA4, PairNeed::rows),
    of_pairs(Metric::kl_median, "kl_median", "nats", "median over rows of KL(reference, cell)", kA4,
             PairNeed::rows),
    of_pairs(Metric::kl_p99, "kl_p99", "nats", "99th percentile over rows of KL(reference, cell)",
             kA4, PairNeed::rows),
    of_pairs(Metric::kl_max, "kl_max", "nats", "largest KL(reference, cell) of a row", kA4,
             PairNeed::rows),
    of_pairs(Metric::js, "js", "nats",
             "mean over rows of (KL(p, m) + KL(q, m)) / 2, m = (p + q) / 2", kA4, PairNeed::rows),
    of_pairs(Metric::total_variation, "total_variation", "probability",
             "mean over rows of sum |p - q| / 2", kA4, PairNeed::rows),
    of_pairs(Metric::max_abs, "max_abs", "logits", "largest |difference| of a logit", kA4,
             PairNeed::rows),
    of_pairs(Metric::mean_abs, "mean_abs", "logits", "mean over rows and logits of |difference|",
             kA4, PairNeed::rows),
    of_pairs(Metric::max_ulp, "max_ulp", "ulp",
             "most values between two logits, one of them counted", "units in the last place",
             PairNeed::rows),
    of_pairs(Metric::margin_law, "margin_law", "%",
             "100 rows in which no flip was possible (margin > 2 max |difference|) / rows", kA4,
             PairNeed::rows),
    of_pairs(Metric::layer_drift, "layer_drift", "of the norm",
             "mean |h - h'| / mean |h| of h2 of the last recorded layer; a table has the others",
             kA4, PairNeed::layers),
    of_pairs(Metric::k_error, "k_error", "of the square",
             "sum |K - K'|^2 / sum |K|^2 over KV heads, positions and layers", kSplit,
             PairNeed::keys),
    of_pairs(Metric::v_error, "v_error", "of the square",
             "sum |V - V'|^2 / sum |V|^2 over KV heads, positions and layers", kSplit,
             PairNeed::values),
    of_pairs(Metric::recovery, "recovery", "of the divergence",
             "1 - KL(donor, patched) / KL(donor, recipient)", kA4, PairNeed::rows),
    of_pairs(Metric::kv_bytes, "kv_bytes", "bytes", "most bytes of K and V kept between two steps",
             "counted", PairNeed::traces),
    of_pairs(Metric::weight_bytes, "weight_bytes", "bytes", "bytes of the packed weights",
             "counted", PairNeed::traces),
    of_pairs(Metric::tokens_per_second, "tokens_per_second", "tokens/s",
             "generated tokens / seconds of the first execution",
             "a fact of the execution; it is compared with nothing", PairNeed::traces)};

}  // namespace

const std::vector<MetricEntry>& all_metrics() {
  static const std::vector<MetricEntry> table = [] {
    std::vector<MetricEntry> all(std::begin(kOfGroups), std::end(kOfGroups));
    all.insert(all.end(), std::begin(kOfPairs), std::end(kOfPairs));
    return all;
  }();
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
