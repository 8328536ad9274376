// Pairs of made-up cells: who is whose reference, what the identity control does with a distance
// between equal cells, and where a patched run finds its recipient.
#include <gtest/gtest.h>

#include "harness/judge/judge.h"
#include "harness/judge/pairs.h"
#include "tests/fakes/engine.h"

namespace isobit {
namespace {

class MeasuredPairs : public testing::Test {
 protected:
  void use(const std::string& body) {
    const std::string head =
        "version: 1\nname: t\nmodel: m\nprompts: p.jsonl\n"
        "decode: {max_new_tokens: 8, ignore_eos: true}\n"
        "expect: [{measure: {across: [batch]}}]\n";
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
    return judge({scenario_, matrix_, cells_, within_, nullptr, asked_, eos_, "2026-11-29", true,
                  nullptr, false, nullptr, &pairs_});
  }
  std::vector<std::string> texts() {
    std::vector<std::string> out;
    for (const Group& group : measured_groups(scenario_, matrix_)) {
      for (const ConfigurationPair& pair : pairs_of(scenario_.measures[0], group, matrix_)) {
        out.push_back(pair.configuration + " against " + pair.reference);
      }
    }
    return out;
  }
  void values(int a, int b, double kl) {
    PairRow row;
    row.kl = kl;
    pairs_[{a, b}].rows = {row};
  }

  Scenario scenario_;
  Matrix matrix_;
  std::vector<JudgeCell> cells_;
  WithinResults within_;
  PairValueMap pairs_;
  std::map<std::string, std::vector<std::int32_t>> eos_;
  std::set<GoldenKey> asked_;
};

using Texts = std::vector<std::string>;

TEST_F(MeasuredPairs, TheReferenceFollowsWhatAgainstLeavesOut) {
  use("axes: {kv: [{window: 4}, exact], batch: [1, 3]}\n"
      "measure: [{metrics: [kl], across: [kv, batch], against: {kv: exact}}]\n");
  EXPECT_EQ(texts(), (Texts{"kv=window:4,batch=1 against kv=exact,batch=1",
                            "kv=window:4,batch=3 against kv=exact,batch=3"}));
}

TEST_F(MeasuredPairs, WithoutAgainstItIsTheUsualOneOrTheFirst) {
  use("axes: {kv: [{window: 4}, exact], batch: [3, 1]}\n"
      "measure: [{metrics: [kl], across: [kv, batch]}]\n");
  EXPECT_EQ(texts(), (Texts{"kv=window:4,batch=3 against kv=exact,batch=1",
                            "kv=window:4,batch=1 against kv=exact,batch=1",
                            "kv=exact,batch=3 against kv=exact,batch=1"}));
}

TEST_F(MeasuredPairs, OfUnusualValuesItIsTheFirst) {
  use("axes: {kv: [{window: 4}, {window: 5}], batch: [1, 2]}\n"
      "measure: [{metrics: [kl], across: [kv]}]\n");
  EXPECT_EQ(texts(), (Texts{"kv=window:5 against kv=window:4", "kv=window:5 against kv=window:4"}));
}

TEST_F(MeasuredPairs, EqualCellsWithADistanceStopEveryNumber) {
  use("axes: {batch: [1, 3]}\nmeasure: [{metrics: [kl, div_percent], across: [batch]}]\n");
  values(0, 1, 0);
  Judged fine = judged();
  ASSERT_EQ(fine.measured.size(), 1U);
  EXPECT_EQ(fine.measured[0].control.pairs, 1);
  EXPECT_EQ(fine.measured[0].control.exact, 1);
  ASSERT_EQ(fine.measured[0].pairs.size(), 1U);
  EXPECT_EQ(fine.measured[0].pairs[0].values.at(0).value, 0);
  values(0, 1, 0x1p-900);
  const Judged out = judged();
  const MeasuredGroup& group = out.measured[0];
  EXPECT_EQ(group.control.exact, 0);
  EXPECT_NE(group.control.problem.find("position 0"), std::string::npos);
  EXPECT_TRUE(group.pairs[0].values.empty());
  EXPECT_FALSE(group.values[0].value);
  for (const CellResult& cell : out.cells) {
    EXPECT_EQ(cell.judgement.verdict, Verdict::mistrusted);
    EXPECT_EQ(cell.judgement.reason.find("identity control: KL"), 0U);
  }
}

TEST_F(MeasuredPairs, ValuesThatAreNotTheRecordedRowsAreTheirCellsFault) {
  use("axes: {batch: [1, 3]}\nmeasure: [{metrics: [kl], across: [batch]}]\n");
  pairs_[{0, 1}].wrong = "values of B are not the row";
  const Judged out = judged();
  EXPECT_EQ(out.cells[0].judgement.verdict, Verdict::pass) << out.cells[0].judgement.reason;
  EXPECT_EQ(out.cells[1].judgement.verdict, Verdict::mistrusted);
  EXPECT_EQ(out.measured[0].pairs[0].problem, "the identity control failed");
}

TEST_F(MeasuredPairs, CellsThatDifferMayBeApartAndLostOnesHaveNoNumber) {
  use("axes: {batch: [1, 2, 3]}\nmeasure: [{metrics: [kl, token_match], across: [batch]}]\n");
  cells_[1].attempts[0].prompts[1].tokens[4].id += 1;
  cells_[2].attempts[0].status = CellStatus::failed;
  values(0, 1, 0.5);
  const Judged out = judged();
  const MeasuredGroup& group = out.measured[0];
  EXPECT_EQ(group.control.pairs, 0);
  ASSERT_EQ(group.pairs.size(), 2U);
  EXPECT_EQ(group.pairs[0].values[0].value, 0.5);
  EXPECT_EQ(group.pairs[0].values[1].value, 100.0 * 15 / 16);
  EXPECT_EQ(group.pairs[1].problem, "one of the two has no result");
  pairs_.clear();  // as after an import
  const Judged none = judged();
  EXPECT_NE(none.measured[0].pairs[0].values[0].reason.find("executed in this run"),
            std::string::npos);
}

TEST(Patched, ARunFindsItsRecipientByTheAxisName) {
  Matrix matrix;
  Group group;
  const auto add = [&](const char* cache, const char* patch) {
    Cell& cell = matrix.cells.emplace_back();
    cell.axes["cache"].text = cache;
    cell.axes["patch"].text = patch;
    cell.index = int(matrix.cells.size()) - 1;
    group.cells.push_back(cell.index);
  };
  for (const char* patch : {"k:all", "none", "residual:all"}) {
    for (const char* cache : {"on", "off"}) add(cache, patch);
  }
  Measure measure;
  measure.across = {"cache", "patch"};
  measure.against["cache"].text = "off";
  measure.against["patch"].text = "none";
  const std::vector<ConfigurationPair> pairs = pairs_of(measure, group, matrix);
  ASSERT_EQ(pairs.size(), 5U);
  for (const ConfigurationPair& pair : pairs) {
    EXPECT_EQ(pair.reference, "cache=off,patch=none");
    ASSERT_EQ(pair.cells.size(), 1U);
    EXPECT_EQ(pair.cells[0].first, 3);
  }
  EXPECT_EQ(pairs[0].configuration, "cache=on,patch=k:all");
  EXPECT_EQ(pairs[0].unpatched, 2);
  EXPECT_EQ(pairs[2].configuration, "cache=on,patch=none");
  EXPECT_EQ(pairs[2].unpatched, -1);
  EXPECT_EQ(pairs[3].unpatched, 2);
  EXPECT_EQ(pairs[1].unpatched, -1);  // its recipient is the donor itself: nothing to recover
}

}  // namespace
}  // namespace isobit
