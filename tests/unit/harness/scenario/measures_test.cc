// `measure` and the axis seed: what is read, and where a mistake is told.
#include <gtest/gtest.h>

#include "harness/matrix/matrix.h"
#include "harness/scenario/scenario.h"

namespace isobit {
namespace {

const char* const kBase = "version: 1\nname: t\nmodel: m\nprompts: p.jsonl\n";
const char* const kSampled = "decode: {strategy: sample}\n";

/// The error of a scenario that is well but for `more`, which starts in line 5.
std::string error_of(const std::string& more) {
  const auto scenario = parse_scenario(kBase + more, "t.yaml", {});
  return scenario ? "no error" : scenario.error().text();
}

Scenario read(const std::string& more) {
  auto scenario = parse_scenario(kBase + more, "t.yaml", {});
  EXPECT_TRUE(scenario) << scenario.error().text();
  return std::move(*scenario);
}

TEST(Measures, AreReadWhole) {
  const Scenario s = read(
      "axes: {batch: [1, 3], gpus: [1, 2], precision: [bf16, fp32]}\nmeasure:\n"
      "  - {metrics: [std_accuracy, std_top1_prob], across: [batch, gpus], where: precision=bf16}\n"
      "  - {metrics: [div_index], across: [precision]}\n");
  ASSERT_EQ(s.measures.size(), 2U);
  EXPECT_EQ(s.measures[0].metrics,
            (std::vector<Metric>{Metric::std_accuracy, Metric::std_top1_prob}));
  EXPECT_EQ(s.measures[0].text(), "measure across batch, gpus where precision=bf16");
  EXPECT_EQ(s.measures[0].place, "t.yaml:7:5");
  EXPECT_TRUE(s.measures[0].needs_log_sums());
  EXPECT_FALSE(s.measures[1].needs_log_sums());
}

TEST(Measures, MistakesAreToldWithTheirPlace) {
  const std::string axes = "axes: {batch: [1, 3]}\n";
  EXPECT_EQ(error_of(axes + "measure: [{metrics: [std_acuracy], across: [batch]}]\n"),
            "t.yaml:6:22: unknown metric \"std_acuracy\"; did you mean \"std_accuracy\"?");
  EXPECT_EQ(error_of(axes + "measure: [{metrics: [div_index, div_index], across: [batch]}]\n"),
            "t.yaml:6:33: metric div_index is given twice");
  EXPECT_EQ(error_of(axes + "measure: [{metrics: [div_index], across: [batches]}]\n"),
            "t.yaml:6:43: unknown axis \"batches\"; did you mean \"batch\"?");
  EXPECT_EQ(error_of(axes + "measure: [{metrics: [div_index], across: [batch, batch]}]\n"),
            "t.yaml:6:50: axis batch is twice in across");
  EXPECT_EQ(error_of(axes + "measure: [{metrics: [div_index]}]\n"),
            "t.yaml:6:11: an entry of measure needs across: the axes that make its "
            "configurations");
  EXPECT_EQ(error_of(axes + "measure: [{across: [batch]}]\n"),
            "t.yaml:6:11: an entry of measure needs metrics: a list of their names");
  EXPECT_EQ(error_of(axes + "measure: []\n"), "t.yaml:6:10: measure is an empty list");
  EXPECT_EQ(
      error_of(axes + "measure: [{metrics: [div_index], across: [batch], max: 1}]\n"),
      "t.yaml:6:51: unknown key \"max\" in an entry of measure; known: metrics, across, over, "
      "where, against");
}

TEST(Measures, SamplesNeedSeeds) {
  const std::string axes = "axes: {batch: [1, 3], seed: [0, 1]}\n";
  EXPECT_EQ(error_of("axes: {batch: [1, 3]}\nmeasure: [{metrics: [pass_at_1], across: [batch]}]\n"),
            "t.yaml:6:22: pass_at_1 is of several samples; add over: seed, and the axis seed");
  EXPECT_EQ(error_of(std::string(kSampled) + "axes: {batch: [1, 3]}\n"
                                             "measure: [{metrics: [pass_at_1], across: [batch], "
                                             "over: seed}]\n"),
            "t.yaml:7:11: measure across batch over seed: no cell has a seed of its own; add the "
            "axis seed: [0, 1, 2]");
  EXPECT_EQ(error_of(kSampled + axes +
                     "measure: [{metrics: [div_index], across: [batch, seed], over: seed}]\n"),
            "t.yaml:7:11: axis seed is in across and in over; samples are no configurations");
  EXPECT_EQ(error_of(kSampled + axes +
                     "measure: [{metrics: [pass_at_1], across: [batch], over: gpus}]\n"),
            "t.yaml:7:57: unknown axis of over \"gpus\"; known: seed");
  EXPECT_EQ(error_of(kSampled + axes +
                     "measure: [{metrics: [pass_at_1], across: [batch], over: seed}]\n"),
            "no error");
}

TEST(Measures, SeedsNeedSampling) {
  EXPECT_EQ(error_of("axes: {seed: [0, 1]}\n"),
            "t.yaml:5:15: axis seed has no meaning with strategy greedy; add decode: {strategy: "
            "sample}");
  EXPECT_EQ(error_of("decode: {strategy: sample, seed: 3}\naxes: {seed: [0, 1]}\n"),
            "t.yaml:5:34: seed is an axis already; give it in one place");
  EXPECT_EQ(error_of(std::string(kSampled) + "axes: {seed: [-1]}\n"),
            "t.yaml:6:15: unknown value \"-1\" for axis seed; a whole number from 0");
}

TEST(Measures, OneThatSelectsNothingIsAnError) {
  const Scenario s = read(
      "axes: {batch: [1, 3]}\n"
      "measure: [{metrics: [div_index], across: [batch], where: gpus=2}]\n");
  const auto matrix = expand(s, false);
  ASSERT_FALSE(matrix);
  EXPECT_EQ(matrix.error().text(),
            "t.yaml:6:11: measure across batch where gpus=2: selects no cell");
}

TEST(Measures, GroupsAreEqualButForAcrossAndOver) {
  const Scenario s =
      read(std::string(kSampled) +
           "axes: {precision: [bf16, fp32], batch: [1, 3], seed: [0, 1, 2]}\nmeasure:\n"
           "  - {metrics: [std_pass_at_1], across: [batch], over: seed}\n"
           "  - {metrics: [std_top1_prob], across: [batch], where: precision=bf16}\n");
  const auto matrix = expand(s, false);
  ASSERT_TRUE(matrix) << matrix.error().text();
  const std::vector<Group> groups = measured_groups(s, *matrix);
  ASSERT_EQ(groups.size(), 5U);
  EXPECT_EQ(groups[0].key, "precision=bf16");
  EXPECT_EQ(groups[0].cells.size(), 6U);
  EXPECT_EQ(groups[4].key, "precision=bf16,seed=2");
  EXPECT_EQ(groups[4].cells.size(), 2U);
  EXPECT_EQ(groups[4].rule, 1);
  EXPECT_TRUE(groups_of(s, *matrix).empty());
  for (const Cell& cell : matrix->cells) {
    EXPECT_EQ(needs_log_sums(s, cell), cell.value("precision") == "bf16");
    EXPECT_EQ(cell.requested().sampler.seed, std::uint64_t(std::stoi(cell.value("seed"))));
  }
}

TEST(Measures, PairsAreReadWhole) {
  const Scenario s = read(
      "axes: {kv: [exact, {rtn: 4, group: 8}], batch: [1, 3]}\n"
      "observe: {level: layers, values: {sites: [h2, k_seen], layers: [1, 0], prompts: 3}}\n"
      "measure:\n"
      "  - {metrics: [kl, k_error, div_index], across: [kv, batch], against: {kv: exact}}\n"
      "  - {metrics: [token_match, kv_bytes], across: [kv]}\n");
  EXPECT_EQ(s.observe, TraceLevel::layers);
  EXPECT_EQ(s.values.sites, (std::vector<Site>{Site::h2, Site::k_seen}));
  EXPECT_EQ(s.values.layers, (std::vector<std::int32_t>{1, 0}));
  EXPECT_EQ(s.values.prompts, 3);
  const Measure& both = s.measures[0];
  EXPECT_EQ(both.text(), "measure across kv, batch against kv=exact");
  EXPECT_EQ(both.against.at("kv").text, "exact");
  EXPECT_TRUE(both.has_pairs() && both.needs_values() && both.needs_inner_values());
  EXPECT_FALSE(both.needs_log_sums());
  EXPECT_TRUE(s.measures[1].has_pairs());
  EXPECT_FALSE(s.measures[1].needs_values());
  EXPECT_EQ(read("observe: ops\n").observe, TraceLevel::ops);
  EXPECT_TRUE(read("observe: {values: {sites: [v], layers: all}}\n").values.layers.empty());
}

TEST(Measures, MistakesOfPairsAreToldWithTheirPlace) {
  const std::string axes = "axes: {kv: [exact, {window: 8}], batch: [1, 3]}\n";
  const std::string kl = "measure: [{metrics: [kl], across: [kv], against: ";
  EXPECT_EQ(error_of(axes + kl + "{kv: {window: 9}}}]\n")
                .find("t.yaml:6:55: against names kv \"window:9\", which no cell has"),
            0U);
  EXPECT_EQ(error_of(axes + kl + "{batch: 1}}]\n"),
            "t.yaml:6:51: unknown key \"batch\" in against; known: kv");
  EXPECT_NE(error_of(axes + "measure: [{metrics: [layer_drift], across: [kv]}]\n")
                .find("t.yaml:6:11: measure across kv: its metrics need values of h2; add observe"),
            std::string::npos);
  EXPECT_NE(error_of("observe: {values: {sites: [logits]}}\n").find("t.yaml:5:28: unknown site"),
            std::string::npos);
  EXPECT_NE(error_of("observe: {values: {sites: [h1], layers: [0, 0]}}\n").find("layer 0 is given"),
            std::string::npos);
  EXPECT_NE(error_of("observe: {values: {layers: all}}\n").find("values needs sites"),
            std::string::npos);
  EXPECT_NE(error_of("observe: {values: {sites: [h1], prompts: 0}}\n").find("prompts"),
            std::string::npos);
}

}  // namespace
}  // namespace isobit
