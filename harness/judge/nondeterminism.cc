// Traces to one Output a prompt and sample, and these to the metrics.
#include "harness/judge/nondeterminism.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <optional>
#include <string>

#include "harness/score/reply.h"
#include "runtime/numerics/functions.h"

namespace isobit {
namespace {

using Values = std::vector<double>;

double mean_of(const Values& values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return sum / double(values.size());
}

/// Sample standard deviation, of the distances from the first value. REQUIRES: two values.
double std_of(const Values& values) {
  Values from_first;
  for (const double value : values) from_first.push_back(value - values.front());
  const double mean = mean_of(from_first);
  double squares = 0;
  for (const double value : from_first) squares += (value - mean) * (value - mean);
  return std::sqrt(squares / double(values.size() - 1));
}

/// What all configurations gave for one prompt and sample.
struct Output {
  int prompt = 0;
  bool scored = false;  // the prompt has an answer
  Values correct;       // by configuration, 0 or 1
  double length = 0, length_std = 0;
  std::int64_t parts = -1;       // Div_Index; -1: all agree
  std::optional<double> jitter;  // mean over positions of the std of the top token's probability
};

const PromptTrace& prompt_at(const Configuration& configuration, std::size_t sample,
                             std::size_t prompt) {
  return configuration[sample]->prompts[prompt];
}

/// The first index at which not all have the same token; of outputs of different lengths the
/// shortest one's length.
std::int64_t divergence_of(const std::vector<const PromptTrace*>& all) {
  std::size_t shortest = all.front()->tokens.size(), longest = shortest;
  for (const PromptTrace* one : all) {
    shortest = std::min(shortest, one->tokens.size());
    longest = std::max(longest, one->tokens.size());
  }
  for (std::size_t t = 0; t < shortest; ++t) {
    for (const PromptTrace* one : all) {
      if (one->tokens[t].id != all.front()->tokens[t].id) return std::int64_t(t);
    }
  }
  return shortest == longest ? -1 : std::int64_t(shortest);
}

/// Probability of a row's first token; none without its log-sum-exp.
std::optional<double> top_probability(const TokenRecord& token) {
  if (token.top_count == 0 || token.log_sum == 0 || !std::isfinite(token.log_sum)) return {};
  return exp_(double(token.top_logits[0]) - token.log_sum);
}

/// Over the positions up to the first difference, that one included: their rows have equal inputs.
std::optional<double> jitter_of(const std::vector<const PromptTrace*>& all, std::int64_t parts) {
  if (all.size() < 2) return {};
  const auto shortest = std::min_element(all.begin(), all.end(), [](const auto* a, const auto* b) {
    return a->tokens.size() < b->tokens.size();
  });
  const std::size_t rows = (*shortest)->tokens.size();
  const std::size_t end = parts < 0 ? rows : std::min(rows, std::size_t(parts) + 1);
  Values spread;
  for (std::size_t t = 0; t < end; ++t) {
    Values probability;
    for (const PromptTrace* one : all) {
      const std::optional<double> p = top_probability(one->tokens[t]);
      if (!p) return {};
      probability.push_back(*p);
    }
    spread.push_back(std_of(probability));
  }
  return mean_of(spread);
}

/// The outputs of one group, and the metrics of all of them or of all but one prompt's.
class Outputs {
 public:
  Outputs(const std::vector<Configuration>& configurations, ScoreKind replies)
      : all_(configurations), replies_(replies) {
    if (all_.empty()) return;
    std::size_t prompts = 0;
    for (const Configuration& one : all_) {
      for (const CellTrace* trace : one) prompts = std::max(prompts, trace->prompts.size());
    }
    for (std::size_t p = 0; p < prompts; ++p) {
      if (everywhere(p)) {
        for (std::size_t s = 0; s < all_.front().size(); ++s) add(p, s);
        ++prompts_;
      } else {
        ++left_out_;
      }
    }
  }

  [[nodiscard]] std::int64_t prompts() const { return prompts_; }
  [[nodiscard]] std::int64_t left_out() const { return left_out_; }

  [[nodiscard]] MetricValue value(const MetricEntry& entry) const {
    MetricValue out;
    out.metric = entry.name;
    out.reason = why_not(entry);
    if (!out.reason.empty()) return out;
    const std::vector<int> used = used_prompts(entry);
    out.prompts = std::int64_t(used.size());
    out.value = metric(entry.metric, -1);
    if (!out.value) out.reason = "no prompt diverges";
    if (out.value) out.error = standard_error(entry.metric, used);
    return out;
  }

 private:
  /// Whether every configuration has a prompt, of the same tokens, in every sample.
  [[nodiscard]] bool everywhere(std::size_t p) const {
    const std::vector<PromptTrace>& first = all_.front().front()->prompts;
    return std::all_of(all_.begin(), all_.end(), [&](const Configuration& one) {
      return std::all_of(one.begin(), one.end(), [&](const CellTrace* trace) {
        return p < trace->prompts.size() && p < first.size() && !trace->prompts[p].tokens.empty() &&
               trace->prompts[p].tokens_digest == first[p].tokens_digest;
      });
    });
  }

  void add(std::size_t p, std::size_t sample) {
    Output out;
    out.prompt = int(p);
    out.scored = scores(replies_, prompt_at(all_.front(), sample, p));
    std::vector<const PromptTrace*> traces;
    Values length;
    for (const Configuration& one : all_) {
      const PromptTrace& prompt = prompt_at(one, sample, p);
      traces.push_back(&prompt);
      length.push_back(double(prompt.tokens.size()));
      out.correct.push_back(out.scored && is_right(replies_, prompt) ? 1 : 0);
    }
    out.length = mean_of(length);
    if (all_.size() > 1) out.length_std = std_of(length);
    out.parts = divergence_of(traces);
    out.jitter = jitter_of(traces, out.parts);
    outputs_.push_back(std::move(out));
  }

  [[nodiscard]] std::string why_not(const MetricEntry& entry) const {
    if (all_.empty()) return "no configuration has a result";
    if (entry.spreads && all_.size() < 2) return "one configuration has no spread";
    if (outputs_.empty()) return "no prompt has an output in every configuration";
    const auto any = [&](auto what) { return std::any_of(outputs_.begin(), outputs_.end(), what); };
    if (entry.answers && !any([](const Output& o) { return o.scored; })) {
      return "no prompt has an answer";
    }
    if (entry.log_sums && any([](const Output& o) { return !o.jitter; })) {
      return "a row has no log-sum-exp";
    }
    return "";
  }

  /// Prompts that a metric rests on, ascending.
  [[nodiscard]] std::vector<int> used_prompts(const MetricEntry& entry) const {
    std::vector<int> out;
    for (const Output& output : outputs_) {
      if (entry.answers && !output.scored) continue;
      if (out.empty() || out.back() != output.prompt) out.push_back(output.prompt);
    }
    return out;
  }

  /// Without the outputs of one prompt (-1: with all); none where nothing is left.
  [[nodiscard]] std::optional<double> metric(Metric which, int without) const {
    switch (which) {
      case Metric::accuracy:
      case Metric::pass_at_1:
      case Metric::std_accuracy:
      case Metric::std_pass_at_1: {
        const Values accuracy = accuracies(without);
        if (accuracy.empty()) return {};
        return entry_of(which).spreads ? std_of(accuracy) : mean_of(accuracy);
      }
      case Metric::output_length:
        return mean(without, [](const Output& o) { return o.length; });
      case Metric::std_output_length:
        return mean(without, [](const Output& o) { return o.length_std; });
      case Metric::div_percent:
        return mean(without, [](const Output& o) { return o.parts < 0 ? 0.0 : 100.0; });
      case Metric::std_top1_prob:
        return mean(without, [](const Output& o) { return *o.jitter; });
      case Metric::div_index:
        return mean(without, [](const Output& o) -> std::optional<double> {
          if (o.parts < 0) return {};
          return double(o.parts);
        });
      default:
        break;  // of pairs
    }
    return {};
  }

  /// In percent, by configuration; empty where no prompt has an answer.
  [[nodiscard]] Values accuracies(int without) const {
    Values correct(all_.size());
    double scored = 0;
    for (const Output& output : outputs_) {
      if (!output.scored || output.prompt == without) continue;
      ++scored;
      for (std::size_t c = 0; c < correct.size(); ++c) correct[c] += output.correct[c];
    }
    if (scored == 0) return {};
    for (double& value : correct) value = 100 * value / scored;
    return correct;
  }

  /// Mean over outputs of what a function gives for each; it may give nothing for some.
  template <class F>
  [[nodiscard]] std::optional<double> mean(int without, const F& of) const {
    Values values;
    for (const Output& output : outputs_) {
      if (output.prompt == without) continue;
      const std::optional<double> value = of(output);
      if (value) values.push_back(*value);
    }
    if (values.empty()) return {};
    return mean_of(values);
  }

  [[nodiscard]] std::optional<double> standard_error(Metric which,
                                                     const std::vector<int>& used) const {
    if (used.size() < 2) return {};
    Values without;
    for (const int prompt : used) {
      const std::optional<double> value = metric(which, prompt);
      if (!value) return {};
      without.push_back(*value);
    }
    const double n = double(used.size());
    return std_of(without) * (n - 1) / std::sqrt(n);
  }

  const std::vector<Configuration>& all_;
  ScoreKind replies_;
  std::vector<Output> outputs_;  // by prompt, then by sample
  std::int64_t prompts_ = 0, left_out_ = 0;
};

}  // namespace

void measure_configurations(const std::vector<Metric>& metrics,
                            const std::vector<Configuration>& configurations, MeasuredGroup& group,
                            ScoreKind replies) {
  const Outputs outputs(configurations, replies);
  group.prompts = outputs.prompts();
  group.left_out = outputs.left_out();
  for (const Metric metric : metrics) {
    const MetricEntry& entry = entry_of(metric);
    if (!entry.of_pairs()) group.values.push_back(outputs.value(entry));
  }
}

}  // namespace isobit
