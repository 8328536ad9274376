// A group that demands nothing: how far each of its cells is from the first, in text and JSON.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "reports/describe.h"
#include "tests/unit/reports/sample_report.h"

namespace isobit::test {
namespace {

Report measured_report() {
  Report report;
  report.scenario = "kv";
  report.cells = {sample_cell("1", "on", Verdict::pass), sample_cell("8", "on", Verdict::pass),
                  sample_cell("48", "on", Verdict::pass)};
  report.cells[2].class_label = "B";
  GroupResult group;
  group.rule = "measure across batch";
  group.cells = {0, 1, 2};
  group.base = 0;
  group.pairs = {{1, 96, 0, 0, 4, 0, -1}, {2, 96, 90, 2, 4, 3, 1}};
  group.compared_tokens = group.comparable_rows = 192;
  group.differing = 90;
  group.flipped = 2;
  group.flip_rate_bound = 0.03125;
  group.divergence_index = {-1, -1, -1, -1, 7, 1, 2, -1};
  report.groups = {group};
  return report;
}

TEST(Measure, SaysWhereAndHowMuch) {
  const Report report = measured_report();
  EXPECT_EQ(measured_text(report.groups[0], report),
            "3 cells, 192 tokens compared, 90 with other bits, 2 flips (rate below 0.03125 "
            "of 192 rows, 95 %), first difference at token 1 (median 2) in 3 of 8 prompts");
  const std::vector<std::string> want = {
      "against batch 1:", "batch 8   0 of 96 rows",
      "batch 48   90 of 96 rows in 3 of 4 prompts, first at token 1, 2 flips"};
  EXPECT_EQ(pair_lines(report.groups[0], report), want);
  EXPECT_TRUE(pair_lines(GroupResult{}, report).empty());
}

TEST(Measure, IsInTheTerminalAndInJson) {
  const Report report = measured_report();
  const std::string text = render_terminal(report, {});
  for (const char* line : {"\n    AAB\n", "\n    A  batch {1, 8}   2 cells\n",
                           "\n    B  batch 48   1 cell\n", "\n    batch 8   0 of 96 rows\n"}) {
    EXPECT_NE(text.find(line), std::string::npos) << text;
  }
  const auto json = nlohmann::json::parse(render_json(report));
  const auto& pairs = json["groups"][0]["pairs"];
  ASSERT_EQ(pairs.size(), 2U);
  EXPECT_EQ(json["groups"][0]["base"], "kv%batch=1,cache=on /00000001");
  EXPECT_EQ(pairs[1]["differing"], 90);
  EXPECT_EQ(pairs[1]["prompts_differing"], 3);
  EXPECT_EQ(pairs[0]["earliest"], -1);
}

Report ensemble_report() {
  Report report = measured_report();
  GroupResult& group = report.groups[0];
  group.rule = "ensemble bins 15 across weights";
  group.ensemble = {
      1200,
      40,
      15,
      {{"bsr:4", 0.4375, 0.125, 0.0625, 30}},
      {{1, 0.4375, 0.125, 0.0625, 0.4375, 0, 30}, {2, 0.375, 0.1, 0.03125, 0.4375, 0.0625, 31}},
      {2, 0.0078125, 0.5},
      {1, 0, 0}};
  return report;
}

TEST(Measure, AnEnsembleIsATable) {
  Report report = ensemble_report();
  std::vector<std::string> want = {
      "1,200 targets in 40 prompts, ECE of 15 bins",
      "members    NLL        error      ECE        ambiguity  member NLL prompts right",
      "1          0.4375     0.125      0.0625     0          0.4375     30 of 40",
      "2          0.375      0.1        0.03125    0.0625     0.4375     31 of 40",
      "alone      0.4375     0.125      0.0625                           30 of 40  bsr:4",
      "deviation over 2 members: NLL 0.0078125, target's probability 0.5"};
  EXPECT_EQ(ensemble_lines(report.groups[0]), want);
  report.groups[0].ensemble.runtime = {4, 0.25, 0.125};
  want.push_back("deviation over 4 runtime configurations: NLL 0.25, target's probability 0.125");
  EXPECT_EQ(ensemble_lines(report.groups[0]), want);
  EXPECT_TRUE(ensemble_lines(GroupResult{}).empty());
  const std::string text = render_terminal(report, {}), page = render_markdown({report});
  for (const std::string& line : want) {
    EXPECT_NE(text.find("\n    " + line + "\n"), std::string::npos) << text;
    EXPECT_NE(page.find("\n" + line + "\n"), std::string::npos) << page;
  }
}

TEST(Measure, AnEnsembleIsWholeInJson) {
  const auto json = nlohmann::json::parse(render_json(ensemble_report()));
  const auto& ensemble = json["groups"][0]["ensemble"];
  EXPECT_EQ(ensemble["targets"], 1200);
  EXPECT_EQ(ensemble["sizes"][1]["ambiguity"], 0.0625);
  EXPECT_EQ(ensemble["sizes"][1]["ambiguity_hex"], "0x1p-4");
  EXPECT_EQ(ensemble["sizes"][1]["prompts_right"], 31);
  EXPECT_EQ(ensemble["alone"][0]["weights"], "bsr:4");
  EXPECT_EQ(ensemble["members"]["nll_hex"], "0x1p-7");
  EXPECT_EQ(ensemble["runtime"]["of"], 1);
  const auto plain = nlohmann::json::parse(render_json(measured_report()));
  EXPECT_TRUE(plain["groups"][0]["ensemble"].is_null());
}

}  // namespace
}  // namespace isobit::test
