// Measured pairs in every report: the control, values with what is told with them, tables of
// layers.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "reports/describe.h"
#include "tests/unit/reports/sample_report.h"

namespace isobit::test {
namespace {

LayerSum sum(int layer, const char* site, double distance) {
  LayerSum out;
  out.layer = layer, out.site = site, out.rows = 4;
  out.distance = distance, out.norm = 8, out.max_abs = 0.5;
  return out;
}

Report paired_report(int layers) {
  Report report;
  report.scenario = "papers";
  report.cells = {sample_cell("1", "on", Verdict::pass), sample_cell("8", "on", Verdict::pass)};
  MeasuredGroup group;
  group.rule = "measure across kv";
  group.cells = {0, 1};
  group.configurations = 2;
  group.control = {2, 2, ""};
  MeasuredPair pair;
  pair.configuration = "kv=q8_0", pair.reference = "kv=exact";
  pair.cells = {{0, 1}};
  pair.values = {{"kl", 0.25, 0.125, 3, "", {}},
                 {"flip_rate", 12.5, std::nullopt, 3, "", {{"flips", 1}, {"rows", 8}}},
                 {"recovery", std::nullopt, std::nullopt, 0, "undefined", {}}};
  for (int l = 0; l < layers; ++l) {
    pair.layers.push_back(sum(l, "h1", 2 * l + 1));
    pair.layers.push_back(sum(l, "h2", 2 * l + 2));
  }
  pair.rows.resize(8);
  MeasuredPair lost;
  lost.configuration = "kv=q4_0", lost.reference = "kv=exact";
  lost.problem = "one of the two has no result";
  group.pairs = {pair, lost};
  report.measured = {group};
  return report;
}

TEST(Pairs, AreToldWithTheirControl) {
  const std::vector<std::string> lines = measured_pair_lines(paired_report(1).measured[0], false);
  const std::vector<std::string> want = {
      "identity control: 2 of 2 pairs exactly 0",
      "kv=q8_0 against kv=exact: 8 aligned rows",
      "  kl         0.25 ± 0.12 nats",
      "  flip_rate  12.5 %   flips 1, rows 8",
      "  recovery   none: undefined",
      "  layer  site    rows     mean distance  relative     largest      added",
      "  0      h1      4        0.25           0.125        0.5          -",
      "  0      h2      4        0.5            0.25         0.5          0.25",
      "kv=q4_0 against kv=exact: none, one of the two has no result"};
  EXPECT_EQ(lines, want);
}

TEST(Pairs, ALongTableIsCutInTheMiddleUnlessAskedFor) {
  const MeasuredGroup group = paired_report(30).measured[0];
  EXPECT_EQ(measured_pair_lines(group, true).size(), 6U + 1 + 60);
  const auto cut = measured_pair_lines(group, false);
  EXPECT_EQ(cut.size(), 6U + 1 + 13);
  EXPECT_NE(cut[12].find("and 48 rows between"), std::string::npos) << cut[12];
}

TEST(Pairs, AFailedControlIsAnErrorOfTheHarness) {
  Report report = paired_report(0);
  report.measured[0].control = {2, 1, "KL 1 at prompt 0, position 3"};
  report.measured[0].pairs.clear();
  const std::string text = render_terminal(report, {});
  EXPECT_NE(text.find("1 of 2 pairs exactly 0. ERROR in the harness, no number is given: KL 1"),
            std::string::npos)
      << text;
}

TEST(Pairs, AreInTheTerminalInMarkdownAndInJson) {
  const Report report = paired_report(2);
  for (const std::string& text : {render_terminal(report, {}), render_markdown({report})}) {
    EXPECT_NE(text.find("2 of 2 pairs exactly 0"), std::string::npos) << text;
    EXPECT_NE(text.find("0.25 ± 0.12 nats"), std::string::npos) << text;
    EXPECT_NE(text.find("mean distance"), std::string::npos) << text;
  }
  const auto json = nlohmann::json::parse(render_json(report))["measured"][0];
  EXPECT_EQ(json["identity_control"]["exact"], 2);
  const auto& pair = json["pairs"][0];
  EXPECT_EQ(pair["rows"], 8);
  EXPECT_EQ(pair["cells"][0].size(), 2U);
  EXPECT_EQ(pair["values"][1]["parts"]["rows"], 8);
  EXPECT_EQ(pair["values"][0]["unit"], "nats");
  EXPECT_EQ(pair["layers"][2]["site"], "h1");
  EXPECT_EQ(pair["layers"][2]["added"], 0.75 - 0.5);
  EXPECT_TRUE(pair["layers"][0]["added"].is_null());
  EXPECT_EQ(json["pairs"][1]["problem"], "one of the two has no result");
}

}  // namespace
}  // namespace isobit::test
