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
  EXPECT_EQ(measured_text(report.groups[0]),
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

}  // namespace
}  // namespace isobit::test
