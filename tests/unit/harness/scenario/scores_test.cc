// `score` and its rule: what is read, what cells then record, and where a mistake is told.
#include <gtest/gtest.h>

#include "harness/matrix/matrix.h"
#include "harness/matrix/recipe.h"
#include "harness/scenario/scenario.h"

namespace isobit {
namespace {

const char* const kBase =
    "version: 1\nname: t\nmodel: m\nprompts: p.jsonl\naxes: {batch: [1, 3]}\n";

std::string error_of(const std::string& more) {
  const auto scenario = parse_scenario(kBase + more, "t.yaml", {});
  return scenario ? "no error" : scenario.error().text();
}

Scenario read(const std::string& more) {
  auto scenario = parse_scenario(kBase + more, "t.yaml", {});
  EXPECT_TRUE(scenario) << scenario.error().text();
  return std::move(*scenario);
}

TEST(ScoresOfAScenario, AreReadWhole) {
  const Scenario s = read(
      "score: [answer, {next_string: {case: ignore, punctuation: exact}}]\n"
      "expect:\n"
      "  - score: {of: ifeval.prompt_loose, across: [batch], min: 0.4, drop: 0.05}\n"
      "  - score: {of: likelihood, across: [batch], where: batch<9, max: 3.5, rise: 0}\n");
  ASSERT_EQ(s.scores.size(), 4U) << "those of rules are scores too";
  EXPECT_EQ(s.scores[0].kind, ScoreKind::answer);
  EXPECT_EQ(s.scores[1].kind, ScoreKind::next_string);
  EXPECT_TRUE(s.scores[1].ignore_case);
  EXPECT_FALSE(s.scores[1].ignore_punctuation);
  EXPECT_EQ(s.scores[2].kind, ScoreKind::ifeval);
  EXPECT_EQ(s.scores[3].kind, ScoreKind::likelihood);
  ASSERT_EQ(s.expect.size(), 2U);
  EXPECT_EQ(s.expect[0].kind, Expectation::Kind::score);
  EXPECT_EQ(s.expect[0].text(), "score of ifeval.prompt_loose min 0.4, drop 0.05 across batch");
  EXPECT_EQ(s.expect[1].text(), "score of likelihood max 3.5, rise 0 across batch where batch<9");
  EXPECT_EQ(s.expect[0].place, "t.yaml:8:5");
}

TEST(ScoresOfAScenario, LogProbabilitiesAreRecordedWhereTheyAreNeeded) {
  const Scenario plain = read("score: [answer, ifeval]\n"), asked = read("score: [choice]\n");
  const auto matrix = expand(plain, false);
  ASSERT_TRUE(matrix);
  const Cell& cell = matrix->cells.front();
  EXPECT_FALSE(needs_fed_logits(plain) || needs_log_sums(plain, cell));
  EXPECT_TRUE(needs_fed_logits(asked) && needs_log_sums(asked, cell));
  const RecipeInputs inputs;
  EXPECT_EQ(cell_recipe(plain, cell, inputs), cell_recipe(read(""), cell, inputs));
  EXPECT_NE(cell_recipe(asked, cell, inputs), cell_recipe(plain, cell, inputs));
  EXPECT_EQ(class_recipe(asked, cell, inputs), class_recipe(plain, cell, inputs));
}

TEST(ScoresOfAScenario, ACellIsNamedByWhatItIsFed) {
  const Scenario s = read("decode: {teacher_forced: continuation}\n");
  const auto matrix = expand(s, false);
  ASSERT_TRUE(matrix);
  EXPECT_EQ(matrix->cells[0].value("teacher_forced"), "continuation");
  RecipeInputs inputs, other;
  other.continuations_digest = "ff";
  EXPECT_NE(class_recipe(s, matrix->cells[0], inputs), class_recipe(s, matrix->cells[0], other));
}

TEST(ScoresOfAScenario, MistakesAreToldWithTheirPlace) {
  EXPECT_EQ(error_of("score: [anser]\n"),
            "t.yaml:6:9: unknown score \"anser\"; did you mean \"answer\"?");
  EXPECT_EQ(error_of("score: [answer, answer]\n"), "t.yaml:6:17: score answer is given twice");
  EXPECT_EQ(error_of("score: []\n"), "t.yaml:6:8: score is an empty list");
  EXPECT_EQ(error_of("score: [{answer: {case: ignore}}]\n"),
            "t.yaml:6:10: score answer has no options");
  EXPECT_EQ(error_of("score: [{next_string: {case: off}}]\n"),
            "t.yaml:6:30: unknown case \"off\"; known: exact, ignore");
  EXPECT_EQ(error_of("expect: [{score: {across: [batch], min: 0.4}}]\n"),
            "t.yaml:6:18: a score rule needs of: the name of a score");
  EXPECT_EQ(error_of("expect: [{score: {of: answer, min: 0.4}}]\n"),
            "t.yaml:6:18: score needs across: the axes it ranges over");
  EXPECT_EQ(error_of("expect: [{score: {of: answer, across: [batch]}}]\n"),
            "t.yaml:6:18: a score rule needs a bound: min or drop");
  EXPECT_EQ(error_of("expect: [{score: {of: answer, across: [batch], max: 2}}]\n"),
            "t.yaml:6:18: of answer more is better; its bounds are min and drop");
  EXPECT_EQ(error_of("expect: [{score: {of: likelihood, across: [batch], min: 0.5}}]\n"),
            "t.yaml:6:18: of likelihood less is better; its bounds are max and rise");
  EXPECT_EQ(error_of("expect: [{score: {of: answer, across: [batch], min: 40}}]\n"),
            "t.yaml:6:53: min must be a number from 0 to 1, not \"40\"");
  EXPECT_NE(error_of("expect: [{score: {of: answr, across: [batch], min: 0.5}}]\n")
                .find("t.yaml:6:23: unknown score \"answr\""),
            std::string::npos);
}

}  // namespace
}  // namespace isobit
