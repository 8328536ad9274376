// The key `ensemble`: read into rules, and every mistake at its place.
#include <gtest/gtest.h>

#include "harness/matrix/matrix.h"
#include "harness/scenario/scenario.h"

namespace isobit {
namespace {

const char* const kBase =
    "version: 1\nname: t\nmodel: m\nprompts: p.jsonl\n"
    "axes: {weights: [stored, {bsr: 4}, {bsr: 4, seed: 1}], batch: [1, 3]}\n"
    "decode: {teacher_forced: answer}\n";

std::string error_of(const std::string& more) {
  const auto scenario = parse_scenario(kBase + more, "t.yaml", {});
  if (!scenario) return scenario.error().text();
  const auto matrix = expand(*scenario, false);
  return matrix ? "no error" : matrix.error().text();
}

TEST(Ensembles, AreRulesThatDemandNothing) {
  const auto scenario =
      parse_scenario(std::string(kBase) +
                         "ensemble:\n  - {across: [weights, batch], where: weights=bsr, bins: 7}\n",
                     "t.yaml", {});
  ASSERT_TRUE(scenario) << scenario.error().text();
  ASSERT_EQ(scenario->expect.size(), 1U);
  const Expectation& rule = scenario->expect[0];
  EXPECT_EQ(rule.kind, Expectation::Kind::ensemble);
  EXPECT_EQ(rule.bins, 7);
  EXPECT_EQ(rule.text(), "ensemble bins 7 across weights, batch where weights=bsr");
  EXPECT_EQ(rule.place, "t.yaml:8:5");
  const auto matrix = expand(*scenario, false);
  ASSERT_TRUE(matrix);
  const std::vector<Group> groups = groups_of(*scenario, *matrix);
  ASSERT_EQ(groups.size(), 1U);
  EXPECT_EQ(groups[0].cells.size(), 4U);
  EXPECT_EQ(matrix->cells[0].value("teacher_forced"), "answer");
}

TEST(Ensembles, MistakesHaveTheirPlace) {
  const std::pair<const char*, const char*> kErrors[] = {
      {"ensemble: []\n", "t.yaml:7:11: "},
      {"ensemble: [{across: [batch]}]\n", "t.yaml:7:12: the members of an ensemble differ"},
      {"ensemble: [{bins: 3}]\n", "t.yaml:7:12: the members of an ensemble differ"},
      {"ensemble: [{across: [weights, bach]}]\n", "t.yaml:7:31: unknown axis \"bach\""},
      {"ensemble: [{across: [weights, weights]}]\n", "t.yaml:7:31: axis weights is twice"},
      {"ensemble: [{across: [weights], bins: 0}]\n", "t.yaml:7:38: "},
      {"ensemble: [{across: [weights], bin: 3}]\n", "t.yaml:7:32: unknown key \"bin\""},
      {"ensemble: [{across: [weights], where: weigths=bsr}]\n", "t.yaml:7:39"},
      {"ensemble: [{across: [weights], where: weights=rtn}]\n", "selects no cell"},
      {"ensemble: [{across: [weights]}]\n", "no error"},
  };
  for (const auto& [text, part] : kErrors) {
    EXPECT_NE(error_of(text).find(part), std::string::npos) << text << error_of(text);
  }
}

TEST(Ensembles, NeedTargets) {
  const std::string free =
      "version: 1\nname: t\nmodel: m\nprompts: p.jsonl\n"
      "axes: {weights: [{bsr: 4}, {bsr: 5}]}\nensemble: [{across: [weights]}]\n";
  const auto scenario = parse_scenario(free, "t.yaml", {});
  ASSERT_TRUE(scenario);
  const auto matrix = expand(*scenario, false);
  ASSERT_FALSE(matrix);
  EXPECT_NE(matrix.error().text().find("t.yaml:6:12: ensemble bins 15 across weights: t%weights="),
            std::string::npos)
      << matrix.error().text();
  EXPECT_NE(matrix.error().message.find("is fed its own tokens"), std::string::npos);
}

}  // namespace
}  // namespace isobit
