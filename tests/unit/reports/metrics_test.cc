// Measured groups in every report: values with their errors, units and names, and why one is
// missing.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "reports/describe.h"
#include "tests/unit/reports/sample_report.h"

namespace isobit::test {
namespace {

Report measured_report() {
  Report report;
  report.scenario = "layercast";
  report.cells = {sample_cell("1", "on", Verdict::pass), sample_cell("8", "on", Verdict::pass)};
  MeasuredGroup group;
  group.rule = "measure across batch";
  group.key = "precision=bf16";
  group.cells = {0, 1};
  group.configurations = 2;
  group.lost = 1;
  group.samples = 4;
  group.prompts = 60;
  group.left_out = 2;
  group.unselected_cells = 3;
  group.values = {{"std_accuracy", 1.25, 0.4142, 58, ""},
                  {"std_top1_prob", 0.1 + 0.2, std::nullopt, 60, ""},
                  {"div_index", std::nullopt, std::nullopt, 0, "no prompt diverges"},
                  {"of_tomorrow", 7, std::nullopt, 60, ""}};
  report.measured = {group};
  return report;
}

TEST(Metrics, AreToldWithWhatTheyRestOn) {
  const Report report = measured_report();
  EXPECT_EQ(basis_text(report.measured[0]),
            "2 configurations (1 without a result), 4 samples, 60 prompts (2 left out), 3 of 5 "
            "cells were not selected");
  const std::vector<std::string> want = {"std_accuracy   1.25 ± 0.41 points   Std@Acc, 58 prompts",
                                         "std_top1_prob  0.3 probability   Avg_Std@top1_prob",
                                         "div_index      none: no prompt diverges",
                                         "of_tomorrow    7"};
  EXPECT_EQ(metric_lines(report.measured[0]), want);
}

TEST(Metrics, AreInTheTerminalInMarkdownAndInJson) {
  const Report report = measured_report();
  for (const std::string& text : {render_terminal(report, {}), render_markdown({report})}) {
    EXPECT_NE(text.find("measure across batch"), std::string::npos) << text;
    EXPECT_NE(text.find("1.25 ± 0.41 points   Std@Acc"), std::string::npos) << text;
    EXPECT_NE(text.find("none: no prompt diverges"), std::string::npos) << text;
  }
  const auto json = nlohmann::json::parse(render_json(report))["measured"][0];
  EXPECT_EQ(json["configurations"], 2);
  EXPECT_EQ(json["cells"].size(), 2U);
  EXPECT_EQ(json["values"][0]["unit"], "points");
  EXPECT_EQ(json["values"][1]["value_hex"], "0x1.3333333333334p-2");
  EXPECT_TRUE(json["values"][1]["standard_error"].is_null());
  EXPECT_TRUE(json["values"][2]["value"].is_null());
  EXPECT_EQ(json["values"][2]["reason"], "no prompt diverges");
}

}  // namespace
}  // namespace isobit::test
