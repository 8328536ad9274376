// The entries of `measure` of made-up cells: what a configuration is, what is left out, and that no
// verdict comes of it.
#include <gtest/gtest.h>

#include <cstdio>

#include "harness/judge/judge.h"
#include "tests/fakes/engine.h"

namespace isobit {
namespace {

std::string told(const MetricValue& value) {
  if (!value.value) return value.reason;
  char text[40];
  std::snprintf(text, sizeof text, "%.12g", *value.value);
  return text;
}

/// A scenario's cells, judged.
class MeasuredTest : public testing::Test {
 protected:
  void use(const std::string& body) {
    const std::string head = "version: 1\nname: t\nmodel: m\nprompts: p.jsonl\n";
    auto scenario = parse_scenario(head + body, "t.yaml", {});
    ASSERT_TRUE(scenario) << scenario.error().text();
    scenario_ = std::move(*scenario);
    auto matrix = expand(scenario_, false);
    ASSERT_TRUE(matrix) << matrix.error().text();
    matrix_ = std::move(*matrix);
    for (const Cell& cell : matrix_.cells) {
      JudgeCell& made = cells_.emplace_back();
      made.state = JudgeCell::State::executed;
      GenerateRequest request = cell.requested();
      request.max_new_tokens = 8;
      request.prompts.resize(2);
      request.prompts[0].tokens = {1, 2, 3};
      request.prompts[1].tokens = {4, 5};
      made.attempts.push_back(fakes::made_up_trace(request));
    }
  }
  Judged judged() {
    return judge({scenario_, matrix_, cells_, within_, nullptr, asked_, eos_, "2026-11-29", true});
  }
  void fail(std::size_t cell) { cells_[cell].attempts[0].status = CellStatus::failed; }
  /// Another token from the fifth one on.
  void part(std::size_t cell) { cells_[cell].attempts[0].prompts[1].tokens[4].id += 1; }

  Scenario scenario_;
  Matrix matrix_;
  std::vector<JudgeCell> cells_;
  WithinResults within_;
  std::map<std::string, std::vector<std::int32_t>> eos_;
  std::set<GoldenKey> asked_;
};

constexpr const char* kGreedy =
    "decode: {max_new_tokens: 8, ignore_eos: true}\n"
    "axes: {precision: [fp32, bf16], batch: [1, 2, 3]}\n"
    "expect: [{measure: {across: [batch]}}]\n";
constexpr const char* kMeasure =
    "measure: [{metrics: [div_percent, div_index], across: [batch]}]\n";

TEST_F(MeasuredTest, GroupsAreTakenApartAndNoVerdictChanges) {
  use(std::string(kGreedy) + kMeasure);
  part(4);
  const Judged out = judged();
  ASSERT_EQ(out.measured.size(), 2U);
  EXPECT_EQ(out.measured[0].key, "precision=fp32");
  EXPECT_EQ(out.measured[0].cells, (std::vector<int>{0, 1, 2}));
  EXPECT_EQ(out.measured[0].configurations, 3);
  EXPECT_EQ(told(out.measured[0].values[0]), "0");
  EXPECT_EQ(out.measured[0].values[1].reason, "no prompt diverges");
  EXPECT_EQ(told(out.measured[1].values[0]), "50");
  EXPECT_EQ(told(out.measured[1].values[1]), "4");
  scenario_.measures.clear();
  const Judged without = judged();
  EXPECT_TRUE(without.measured.empty());
  for (std::size_t i = 0; i < cells_.size(); ++i) {
    EXPECT_EQ(out.cells[i].judgement.verdict, without.cells[i].judgement.verdict);
  }
}

TEST_F(MeasuredTest, AConfigurationWithoutAResultIsLost) {
  use(std::string(kGreedy) + kMeasure);
  fail(0);
  part(2);
  Judged out = judged();
  EXPECT_EQ(out.measured[0].configurations, 2);
  EXPECT_EQ(out.measured[0].lost, 1);
  EXPECT_EQ(told(out.measured[0].values[0]), "50");
  fail(1);
  cells_[2].state = JudgeCell::State::skipped;
  cells_[2].attempts.clear();
  out = judged();
  EXPECT_EQ(out.measured[0].configurations, 0);
  EXPECT_EQ(out.measured[0].lost, 3);
  EXPECT_EQ(out.measured[0].values[0].reason, "no configuration has a result");
}

TEST_F(MeasuredTest, ASampleThatAConfigurationLacksIsInNone) {
  use("decode: {strategy: sample, max_new_tokens: 8, ignore_eos: true}\n"
      "axes: {batch: [1, 3], seed: [0, 1, 2]}\n"
      "expect: [{measure: {across: [batch]}}]\n"
      "measure: [{metrics: [div_percent], across: [batch], over: seed}]\n");
  part(0);
  Judged out = judged();
  ASSERT_EQ(out.measured.size(), 1U);
  EXPECT_EQ(out.measured[0].configurations, 2);
  EXPECT_EQ(out.measured[0].samples, 3);
  EXPECT_EQ(out.measured[0].prompts, 2);
  EXPECT_EQ(told(out.measured[0].values[0]), "16.6666666667");
  fail(5);
  out = judged();
  EXPECT_EQ(out.measured[0].samples, 2);
  EXPECT_EQ(told(out.measured[0].values[0]), "25");
  fail(1);
  fail(3);  // seeds 1 and 2 lack one, and 0 the other
  out = judged();
  EXPECT_EQ(out.measured[0].configurations, 0);
  EXPECT_EQ(out.measured[0].lost, 2);
}

}  // namespace
}  // namespace isobit
