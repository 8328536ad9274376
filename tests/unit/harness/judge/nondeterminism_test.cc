// The metrics of made-up traces, to the digits that NumPy gives in fp64.
//
// The expected values are those of tests/integration/check_metrics.py for the same arrays:
//   T = [[[3,4,2],[5,6,7,8],[1],[9,9]], [[3,4,2],[5,6,7,8],[2],[9,9]], [[3,4,2],[5,9],[1],[9,9,4]]]
//   correct = [[1,1,-,0],[1,0,-,0],[0,0,-,1]], top logit 8 + p + t/4 as float32,
//   log-sum-exp 8.5 + p + t/4 + 0.001 c c + 0.0001 t c;  std(x) = np.std(x - x[0], ddof=1)
#include "harness/judge/nondeterminism.h"

#include <gtest/gtest.h>

#include <cstdio>

namespace isobit {
namespace {

constexpr int kConfigurations = 3, kPrompts = 4;
using Ids = std::vector<std::int32_t>;

TokenRecord row_of(int c, int p, int t, std::int32_t id) {
  TokenRecord token;
  token.position = 10 + t;
  token.id = token.top_ids[0] = id;
  token.top_count = 1;
  token.top_logits[0] = 8.0F + float(p) + 0.25F * float(t);
  token.log_sum = 8.5 + p + 0.25 * t + 0.001 * c * c + 0.0001 * t * c;
  return token;
}

PromptTrace prompt_of(int c, int p, const Ids& ids, bool has_answer, bool correct) {
  PromptTrace prompt;
  prompt.id = "p" + std::to_string(p);
  prompt.tokens_digest = sha256(&p, sizeof p);
  if (has_answer) prompt.answer = "7";
  prompt.text = correct ? "7" : "8";
  for (std::size_t t = 0; t < ids.size(); ++t) {
    prompt.tokens.push_back(row_of(c, p, int(t), ids[t]));
  }
  return prompt;
}

std::vector<CellTrace> made_up() {
  const std::vector<std::vector<Ids>> ids = {{{3, 4, 2}, {5, 6, 7, 8}, {1}, {9, 9}},
                                             {{3, 4, 2}, {5, 6, 7, 8}, {2}, {9, 9}},
                                             {{3, 4, 2}, {5, 9}, {1}, {9, 9, 4}}};
  const std::vector<std::vector<int>> correct = {{1, 1, 0, 0}, {1, 0, 0, 0}, {0, 0, 0, 1}};
  std::vector<CellTrace> out(kConfigurations);
  for (int c = 0; c < kConfigurations; ++c) {
    for (int p = 0; p < kPrompts; ++p) {
      const auto& tokens = ids[std::size_t(c)][std::size_t(p)];
      const bool right = correct[std::size_t(c)][std::size_t(p)] != 0;
      out[std::size_t(c)].prompts.push_back(prompt_of(c, p, tokens, p != 2, right));
    }
  }
  return out;
}

std::vector<Configuration> one_sample(const std::vector<CellTrace>& traces) {
  std::vector<Configuration> out;
  for (const CellTrace& trace : traces) out.push_back({&trace});
  return out;
}

std::string digits(double value) {
  char text[40];
  std::snprintf(text, sizeof text, "%.12g", value);
  return text;
}

/// "value ± error of N", or "none: reason".
std::string told(const MetricValue& value) {
  if (!value.value) return "none: " + value.reason;
  return digits(*value.value) + " ± " + (value.error ? digits(*value.error) : "none") + " of " +
         std::to_string(value.prompts);
}

std::string told(Metric metric, const std::vector<Configuration>& configurations) {
  MeasuredGroup group;
  measure_configurations({metric}, configurations, group);
  EXPECT_EQ(group.values.size(), 1U);
  EXPECT_EQ(group.values[0].metric, entry_of(metric).name);
  return told(group.values[0]);
}

TEST(Nondeterminism, GivesWhatNumpyGives) {
  const std::vector<CellTrace> traces = made_up();
  const auto all = one_sample(traces);
  EXPECT_EQ(told(Metric::accuracy, all), "44.4444444444 ± 11.1111111111 of 3");
  EXPECT_EQ(told(Metric::std_accuracy, all), "19.245008973 ± 28.9824288558 of 3");
  EXPECT_EQ(told(Metric::output_length, all), "2.41666666667 ± 0.515949322806 of 4");
  EXPECT_EQ(told(Metric::std_output_length, all), "0.433012701892 ± 0.276385399196 of 4");
  EXPECT_EQ(told(Metric::div_index, all), "1 ± 0.612372435696 of 4");
  EXPECT_EQ(told(Metric::div_percent, all), "75 ± 25 of 4");
  EXPECT_EQ(told(Metric::std_top1_prob, all), "0.00128900235107 ± 1.18761981847e-05 of 4");
}

TEST(Nondeterminism, EqualValuesSpreadByNothing) {
  std::vector<CellTrace> traces = made_up();
  for (CellTrace& trace : traces) {
    trace = traces.front();
    for (PromptTrace& prompt : trace.prompts) prompt.tokens[0].log_sum = 8.1;  // mean of 3 rounds
  }
  const auto all = one_sample(traces);
  for (const Metric metric : {Metric::std_accuracy, Metric::std_output_length, Metric::div_percent,
                              Metric::std_top1_prob}) {
    EXPECT_EQ(told(metric, all).find("0 ± 0 of "), 0U) << entry_of(metric).name;
  }
  EXPECT_EQ(told(Metric::div_index, all), "none: no prompt diverges");
}

TEST(Nondeterminism, SaysWhyThereIsNoValue) {
  const std::vector<CellTrace> traces = made_up();
  EXPECT_EQ(told(Metric::accuracy, {}), "none: no configuration has a result");
  const std::vector<CellTrace> first(traces.begin(), traces.begin() + 1);
  const auto one = one_sample(first);
  EXPECT_EQ(told(Metric::std_accuracy, one), "none: one configuration has no spread");
  EXPECT_EQ(told(Metric::div_percent, one), "none: one configuration has no spread");
  std::vector<CellTrace> changed = made_up();
  for (CellTrace& trace : changed) {
    for (PromptTrace& prompt : trace.prompts) prompt.answer.clear();
  }
  changed[1].prompts[3].tokens[1].log_sum = 0;  // before the prompt's first difference
  const auto all = one_sample(changed);
  EXPECT_EQ(told(Metric::accuracy, all), "none: no prompt has an answer");
  EXPECT_EQ(told(Metric::std_top1_prob, all), "none: a row has no log-sum-exp");
  EXPECT_EQ(told(Metric::div_percent, all), "75 ± 25 of 4");
}

TEST(Nondeterminism, OneConfigurationHasAnAccuracyAndALength) {
  const std::vector<CellTrace> traces = made_up();
  const std::vector<Configuration> one = {{&traces[0]}};
  EXPECT_EQ(told(Metric::accuracy, one), "66.6666666667 ± 33.3333333333 of 3");
  EXPECT_EQ(told(Metric::output_length, one), "2.5 ± 0.645497224368 of 4");
}

TEST(Nondeterminism, APromptThatSomeConfigurationLacksIsInNoMetric) {
  std::vector<CellTrace> traces = made_up();
  traces[2].prompts.pop_back();
  traces[1].prompts[2].tokens.clear();
  MeasuredGroup group;
  measure_configurations({Metric::div_percent, Metric::output_length}, one_sample(traces), group);
  EXPECT_EQ(group.prompts, 2);
  EXPECT_EQ(group.left_out, 2);
  EXPECT_EQ(told(group.values[0]), "50 ± 50 of 2");
  EXPECT_EQ(told(group.values[1]), "3.16666666667 ± 0.166666666667 of 2");
  traces[1].prompts[0].tokens_digest[0] ^= 1;  // another prompt at its place
  MeasuredGroup other;
  measure_configurations({Metric::div_percent}, one_sample(traces), other);
  EXPECT_EQ(other.prompts, 1);
  EXPECT_EQ(other.left_out, 3);
}

TEST(Nondeterminism, SamplesArePooledByConfiguration) {
  const std::vector<CellTrace> traces = made_up();
  // Two configurations of two samples: correct 2 + 1 and 1 + 1 of six.
  const std::vector<Configuration> two = {{&traces[0], &traces[1]}, {&traces[2], &traces[1]}};
  EXPECT_EQ(told(Metric::pass_at_1, two), "41.6666666667 ± 16.6666666667 of 3");
  EXPECT_EQ(told(Metric::std_pass_at_1, two), "11.7851130198 ± 23.5702260396 of 3");
  // The second samples agree: they halve the first ones' length spread and divergence.
  EXPECT_EQ(told(Metric::std_output_length, two), "0.265165042945 ± 0.169250800097 of 4");
  EXPECT_EQ(told(Metric::div_percent, two), "25 ± 14.4337567297 of 4");
}

TEST(Metrics, TheTableIsInOrderAndNamesAreDifferent) {
  for (std::size_t i = 0; i < all_metrics().size(); ++i) {
    const MetricEntry& entry = all_metrics()[i];
    EXPECT_EQ(std::size_t(entry.metric), i);
    EXPECT_EQ(find_metric(entry.name), &entry);
    EXPECT_FALSE(std::string(entry.formula).empty() || std::string(entry.unit).empty());
  }
  EXPECT_EQ(find_metric("std"), nullptr);
}

}  // namespace
}  // namespace isobit
