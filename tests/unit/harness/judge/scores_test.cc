// Scores of made-up cells, judged: bounds, the reference cell, paired differences, and a trace that
// does not have what its prompts ask for.
#include <gtest/gtest.h>

#include "harness/judge/judge.h"
#include "tests/fakes/engine.h"

namespace isobit {
namespace {

constexpr int kPrompts = 6;

class ScoresTest : public testing::Test {
 protected:
  /// `replies`: of every cell, a letter a prompt: r is right.
  void use(const std::string& body, const std::vector<std::string>& replies) {
    const std::string head =
        "version: 1\nname: t\nmodel: m\nprompts: p.jsonl\n"
        "decode: {max_new_tokens: 8, ignore_eos: true}\n";
    auto scenario = parse_scenario(head + body, "t.yaml", {});
    ASSERT_TRUE(scenario) << scenario.error().text();
    scenario_ = std::move(*scenario);
    auto matrix = expand(scenario_, false);
    ASSERT_TRUE(matrix) << matrix.error().text();
    matrix_ = std::move(*matrix);
    ASSERT_EQ(matrix_.cells.size(), replies.size());
    for (std::size_t c = 0; c < replies.size(); ++c) add(matrix_.cells[c], replies[c]);
  }
  void add(const Cell& cell, const std::string& replies) {
    JudgeCell& made = cells_.emplace_back();
    made.state = JudgeCell::State::executed;
    GenerateRequest request = cell.requested();
    request.max_new_tokens = 8;
    request.prompts.resize(kPrompts);
    for (int p = 0; p < kPrompts; ++p) request.prompts[std::size_t(p)].tokens = {1, 2, p};
    made.attempts.push_back(fakes::made_up_trace(request));
    lines_.resize(kPrompts);
    for (std::size_t p = 0; p < kPrompts; ++p) {
      PromptTrace& prompt = made.attempts[0].prompts[p];
      prompt.text = replies[p] == 'r' ? "yes" : "no";
      lines_[p].id = "p" + std::to_string(p);
      lines_[p].tokens_digest = prompt.tokens_digest;
      lines_[p].answer = "yes";
      lines_[p].line = int(p);
    }
  }
  Judged judged() {
    JudgeInput input{scenario_, matrix_, cells_,       within_, nullptr,
                     asked_,    eos_,    "2026-11-29", true};
    of_models_ = {{matrix_.cells[0].value("model"), &lines_}};
    input.lines = &of_models_;
    return judge(input);
  }

  Scenario scenario_;
  Matrix matrix_;
  std::vector<JudgeCell> cells_;
  std::vector<ScoreLine> lines_;
  LinesByModel of_models_;
  WithinResults within_;
  std::map<std::string, std::vector<std::int32_t>> eos_;
  std::set<GoldenKey> asked_;
};

TEST_F(ScoresTest, AnAnswerBelowTheLeastIsRed) {
  use("axes: {batch: [1, 3]}\nexpect: [{score: {of: answer, across: [batch], min: 0.5}}]\n",
      {"rrrr..", "rr...."});
  const Judged out = judged();
  EXPECT_EQ(out.cells[0].judgement.verdict, Verdict::pass);
  EXPECT_EQ(out.cells[1].judgement.verdict, Verdict::diff);
  EXPECT_EQ(out.cells[1].judgement.reason, "score answer 0.333333 is below min 0.5");
  ASSERT_EQ(out.groups.size(), 1U);
  EXPECT_EQ(out.groups[0].judgement.verdict, Verdict::diff);
  EXPECT_GT(out.tokens_compared, 0) << "what was scored is not nothing";
}

TEST_F(ScoresTest, ADropIsFromTheCellWithTheDefaults) {
  use("axes: {batch: [3, 1, 5]}\n"
      "expect: [{score: {of: answer, across: [batch], drop: 0.34}}]\n",
      {"rr....", "rrrr..", "r....."});
  const Judged out = judged();
  EXPECT_EQ(out.cells[0].judgement.verdict, Verdict::pass) << "2/6 is 0.333 below 4/6";
  EXPECT_EQ(out.cells[1].judgement.verdict, Verdict::pass);
  EXPECT_EQ(out.cells[2].judgement.verdict, Verdict::diff);
  EXPECT_NE(out.cells[2].judgement.reason.find("that of " + matrix_.cells[1].name()),
            std::string::npos)
      << out.cells[2].judgement.reason;
  const ScoreValue& value = out.cells[2].scores[0];
  EXPECT_EQ(value.reference, 1);
  EXPECT_DOUBLE_EQ(*value.difference, -0.5);
  EXPECT_EQ(value.gained, 0);
  EXPECT_EQ(value.lost, 3);
  EXPECT_EQ(*value.p, 0.25);
  EXPECT_EQ(out.cells[1].scores[0].reference, -1);
}

TEST_F(ScoresTest, NoOtherCellStandsForAReferenceWithoutAScore) {
  use("axes: {batch: [3, 1, 5]}\n"
      "expect: [{score: {of: answer, across: [batch], drop: 0.34}}]\n",
      {"rr....", "rrrr..", "r....."});
  cells_[1].attempts[0].status = CellStatus::failed;
  const Judged out = judged();
  EXPECT_EQ(out.groups[0].judgement.verdict, Verdict::mistrusted);
  EXPECT_NE(out.groups[0].judgement.reason.find("has no score"), std::string::npos)
      << out.groups[0].judgement.reason;
}

TEST_F(ScoresTest, AnAxisWithOneValueHasNoSayInTheReference) {
  use("axes: {threads: [2], batch: [3, 1]}\n"
      "expect: [{score: {of: answer, across: [batch, threads], drop: 0.5}}]\n",
      {"rr....", "rrrr.."});
  EXPECT_EQ(judged().cells[0].scores[0].reference, 1);
}

TEST_F(ScoresTest, WithoutTheDefaultsTheFirstCellIsTheReference) {
  use("axes: {batch: [3, 5]}\nexpect: [{score: {of: answer, across: [batch], drop: 0}}]\n",
      {"rrr...", "...rrr"});
  const Judged out = judged();
  EXPECT_EQ(out.groups[0].judgement.verdict, Verdict::pass);
  EXPECT_EQ(out.groups[0].judgement.reason,
            "answer from 0.5 to 0.5; reference 0.5, " + matrix_.cells[0].name());
  EXPECT_EQ(out.cells[1].scores[0].reference, 0);
  EXPECT_EQ(out.cells[1].scores[0].gained, 3);
  EXPECT_EQ(out.cells[1].scores[0].lost, 3);
  EXPECT_EQ(*out.cells[1].scores[0].p, 1);
}

TEST_F(ScoresTest, ADropOfExactlyTheBoundHolds) {
  use("axes: {batch: [1, 3]}\n"
      "expect: [{score: {of: answer, across: [batch], drop: 0.5}}]\n",
      {"rrrrr.", "rr...."});
  EXPECT_EQ(judged().groups[0].judgement.verdict, Verdict::pass);
}

TEST_F(ScoresTest, GroupsAreTheConditionsOfASignTest) {
  use("axes: {precision: [fp32, bf16, fp16], batch: [1, 3]}\n"
      "expect: [{score: {of: answer, across: [batch], drop: 1}}]\n",
      {"rr....", "rrr...", "r.....", "rr....", "rrr...", "rr...."});
  const Judged out = judged();
  ASSERT_FALSE(out.notes.empty());
  EXPECT_EQ(out.notes[0],
            "score answer: batch=3 better than batch=1 in 2, worse in 1 of 3 groups (sign test p "
            "= 1)");
}

TEST_F(ScoresTest, AMissingPromptFailsTheCell) {
  use("axes: {batch: [1, 3]}\nexpect: [{score: {of: answer, across: [batch], min: 0}}]\n",
      {"rrrrrr", "rrrrrr"});
  cells_[1].attempts[0].prompts.pop_back();
  const Judged out = judged();
  EXPECT_EQ(out.cells[0].judgement.verdict, Verdict::pass);
  EXPECT_EQ(out.cells[1].judgement.verdict, Verdict::fail);
  EXPECT_EQ(out.cells[1].judgement.reason,
            "score answer: prompt p5 is not in the trace at its place");
  EXPECT_EQ(out.groups[0].judgement.verdict, Verdict::mistrusted);
}

TEST_F(ScoresTest, AScoreDecidesNothingWithoutARule) {
  const std::string body = "axes: {batch: [1, 3]}\nexpect: [{measure: {across: [batch]}}]\n";
  use(body + "score: [answer]\n", {"rrrrrr", "......"});
  const Judged out = judged();
  EXPECT_EQ(out.cells[1].judgement.verdict, Verdict::pass);
  EXPECT_EQ(*out.cells[1].scores[0].p, 0.03125);
  scenario_.scores.clear();
  EXPECT_TRUE(judged().cells[1].scores.empty());
}

}  // namespace
}  // namespace isobit
