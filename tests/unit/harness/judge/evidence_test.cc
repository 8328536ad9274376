// Traces whose engines gave less than rows of logits: what may be compared, and what says nothing.
#include <gtest/gtest.h>

#include "harness/judge/judge.h"
#include "tests/fakes/engine.h"

namespace isobit {
namespace {

/// Cells of engine exec that gave the evidence, with what an honest engine says of them.
class EvidenceTest : public testing::Test {
 protected:
  void use(const std::string& rules, const std::vector<std::string>& evidence) {
    auto scenario = parse_scenario(
        "version: 1\nname: t\nmodel: m\nprompts: p.jsonl\ngolden: none\n"
        "decode: {max_new_tokens: 8, ignore_eos: true}\n"
        "axes: {engine: [{exec: [e]}], batch: [1, 3]}\nexpect: [" +
            rules + "]\n",
        "t.yaml", {});
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
      request.prompts.resize(1);
      request.prompts[0].tokens = {1, 2, 3};
      made.attempts.push_back(fakes::made_up_trace(request, 1));
      Observed& observed = made.attempts[0].observed;
      observed.engine = "exec:e 1";
      observed.evidence = evidence[std::size_t(cell.index)];
    }
  }
  TokenRecord& token(int cell) {
    return cells_[std::size_t(cell)].attempts[0].prompts[0].tokens[4];
  }
  Observed& observed(int cell) { return cells_[std::size_t(cell)].attempts[0].observed; }
  std::string verdict() {
    const Judged out = judge({scenario_,
                              matrix_,
                              cells_,
                              {},
                              nullptr,
                              {},
                              {},
                              "2026-11-30",
                              true,
                              nullptr,
                              false,
                              nullptr});
    const Judgement& judgement = out.cells[1].judgement;
    return std::string(name_of(judgement.verdict)) + ": " + judgement.reason;
  }
  bool says(const std::string& text) {
    const std::string found = verdict();
    EXPECT_NE(found.find(text), std::string::npos) << found;
    return found.find(text) != std::string::npos;
  }

  Scenario scenario_;
  Matrix matrix_;
  std::vector<JudgeCell> cells_;
};

constexpr const char* kRows = "{same_bits: {across: [batch]}}";
constexpr const char* kTokens = "{same_bits: {across: [batch], of: tokens}}";
constexpr const char* kLogprobs = "{same_bits: {across: [batch], of: logprobs}}";

TEST_F(EvidenceTest, EqualLogprobsAreNoEqualRows) {
  use(kRows, {"logprobs", "logprobs"});
  says("MISTRUSTED: the engine gave logprobs, and logits are to be compared (`of: logprobs`)");
}

TEST_F(EvidenceTest, DifferentLogprobsAreDifferentRows) {
  use(kRows, {"logprobs", "logprobs"});
  token(1).digest.bytes[0] ^= 1;
  says("DIFF: differs");
}

TEST_F(EvidenceTest, ARuleMayAskForLess) {
  use(kLogprobs, {"logprobs", "logprobs"});
  EXPECT_EQ(verdict(), "PASS: ");
  token(1).digest.bytes[0] ^= 1;
  says("DIFF: differs");
}

TEST_F(EvidenceTest, RowsAreMoreThanLogprobs) {
  use(kLogprobs, {"logits", "logits"});
  EXPECT_EQ(verdict(), "PASS: ");
}

TEST_F(EvidenceTest, TokensAreLessThanLogprobs) {
  use(kLogprobs, {"tokens", "tokens"});
  says("MISTRUSTED: the engine gave tokens, and logprobs are to be compared (`of: tokens`)");
}

TEST_F(EvidenceTest, DigestsOfDifferentEvidenceAreNotCompared) {
  use(kRows, {"logits", "logprobs"});
  token(1).digest.bytes[0] ^= 1;  // they differ by construction
  says("MISTRUSTED: one engine gave logits, the other logprobs: only tokens could be compared");
  token(1).id += 1;
  says("DIFF: differs");
}

TEST_F(EvidenceTest, TokensAreComparedWhateverTheRows) {
  use(kTokens, {"logits", "tokens"});
  token(1).digest.bytes[0] ^= 1;
  EXPECT_EQ(verdict(), "PASS: ");
  token(1).id += 1;
  says("DIFF: differs");
}

TEST_F(EvidenceTest, AControlNeedsAsMuch) {
  use("{differ: {across: [batch]}}", {"tokens", "tokens"});
  says("MISTRUSTED: the engine gave tokens, and logits are to be compared");
  use("{differ: {across: [batch]}}", {"tokens", "tokens"});
}

TEST_F(EvidenceTest, ADifferentTokenMeetsAControl) {
  use("{differ: {across: [batch]}}", {"tokens", "tokens"});
  token(1).id += 1;
  EXPECT_EQ(verdict(), "PASS: ");
}

TEST_F(EvidenceTest, ABoundNeedsRows) {
  use("{within: {across: [batch], max_kl: 1.0}}", {"logprobs", "logprobs"});
  says("MISTRUSTED: no values to compare: the engine gave logprobs");
}

TEST_F(EvidenceTest, WhatAnEngineDoesNotSayIsNotBelieved) {
  use(kRows, {"logits", "logits"});
  EXPECT_EQ(verdict(), "PASS: ");
  const Observed whole = observed(1);
  observed(1).live_rows = 0;
  says("MISTRUSTED: batch 3 was asked, and the engine does not say how many rows were live");
  observed(1).live_rows = 2;
  says("MISTRUSTED: batch 3 was asked, at most 2 rows were live at once");
  observed(1).live_rows = 4;
  says("MISTRUSTED: batch 3 was not alone: 4 rows were live at once");
  observed(1) = whole;
  observed(1).threads = 2;
  says("FAIL: threads 1 was asked, 2 ran");
  observed(1) = whole;
  observed(1).device = "cuda";
  says("FAIL: device cpu was asked, cuda ran");
  observed(1).device = "";  // the default: nothing else was asked
  EXPECT_EQ(verdict(), "PASS: ");
  observed(1).engine = "reference";
  says("FAIL: engine exec was asked, reference ran");
}

TEST(EvidenceOfARule, IsReadStrictly) {
  const auto read = [](const std::string& rule) {
    return parse_scenario(
        "version: 1\nname: t\nmodel: m\nprompts: p.jsonl\naxes: {batch: [1, 3]}\n"
        "expect: [" +
            rule + "]\n",
        "t.yaml", {});
  };
  const auto tokens = read(kTokens);
  ASSERT_TRUE(tokens);
  EXPECT_EQ(tokens->expect[0].of, Evidence::tokens);
  EXPECT_EQ(tokens->expect[0].text(), "same_bits of tokens across batch");
  const auto unknown = read("{same_bits: {across: [batch], of: logprob}}");
  ASSERT_FALSE(unknown);
  EXPECT_NE(unknown.error().text().find("did you mean \"logprobs\"?"), std::string::npos)
      << unknown.error().text();
  EXPECT_FALSE(read("{within: {across: [batch], max_kl: 1, of: tokens}}"));
}

}  // namespace
}  // namespace isobit
