// The table of costs: median and spread over executions, and what is not measured.
#include <gtest/gtest.h>

#include "reports/describe.h"
#include "tests/unit/reports/sample_report.h"

namespace isobit {
namespace {

using Row = std::vector<std::string>;

/// The sample's five cells, of which the first ran three times, the second once, on a GPU, and the
/// third was reused from a program that measured nothing; the others have no costs.
Report costly() {
  Report report = test::sample_report();
  report.cost = true;
  ReportCost& first = report.cells[0].cost;
  first.executions = {{2.0, 300, 100, 64 << 20, 4000},
                      {1.0, 300, 100, 65 << 20, 0},
                      {4.0, 300, 100, 63 << 20, 7500}};
  first.weight_bytes = 27'280'384;
  first.cache_bytes = 3 << 19;
  first.energy_source = "rapl";
  report.cells[0].score = {20, 13};
  ReportCost& second = report.cells[1].cost;
  second.executions = {{0.008, 300, 100, 512 << 20, 1250}};
  second.weight_bytes = 13'640'192;
  second.cache_bytes = 3 << 18;
  second.moved_bytes = 5 << 20;
  second.on_gpu = true;
  second.energy_source = "nvml";
  report.cells[1].score = {20, 12};
  report.cells[2].cost.executions = {{0, 300, 100, 0, 0}};
  return report;
}

TEST(Cost, RowsHaveMedianAndSpread) {
  const auto rows = cost_rows(costly());
  ASSERT_EQ(rows.size(), 4u);
  EXPECT_EQ(rows[0], (Row{"batch", "cache", "correct", "tokens/s", "with prompts", "runs",
                          "peak memory", "weight bytes", "kv bytes", "bytes moved", "energy, J"}));
  EXPECT_EQ(rows[1],
            (Row{"1", "off", "13 of 20", "50.0 (25.0 to 100)", "200 (100 to 400)", "3", "65.0 MiB",
                 "26.0 MiB", "1.50 MiB", "none", "5.75 (4.00 to 7.50), rapl"}));
  EXPECT_EQ(rows[2], (Row{"1", "on", "12 of 20", "12,500", "50,000", "1", "512 MiB, GPU",
                          "13.0 MiB", "768 KiB", "5.00 MiB", "1.25, nvml"}));
  EXPECT_EQ(rows[3], (Row{"3", "off", "no answers", "not measured", "not measured", "1",
                          "not measured", "not measured", "none", "none", "not measured"}));
}

TEST(Cost, IsToldWhereItIsAskedForOnly) {
  Report report = costly();
  EXPECT_NE(render_terminal(report, {}).find("    1      off    13 of 20    50.0 (25.0 to 100)"),
            std::string::npos);
  EXPECT_NE(render_markdown({report}).find("| 1 | off | 13 of 20 | 50.0 (25.0 to 100) |"),
            std::string::npos);
  EXPECT_NE(render_terminal(report, {}).find("energy: of whole CPU packages"), std::string::npos);
  report.cost = false;
  EXPECT_TRUE(cost_rows(report).empty());
  EXPECT_EQ(render_terminal(report, {}).find("13 of 20    "), std::string::npos);
  EXPECT_EQ(render_markdown({report}).find("### Cost"), std::string::npos);
}

TEST(Cost, JsonHasEveryExecutionAndNullWhereNothingWasMeasured) {
  const std::string json = render_json(costly());
  EXPECT_NE(json.find("\"weight_bytes\": 27280384"), std::string::npos);
  EXPECT_NE(json.find("\"energy_mj\": 7500"), std::string::npos);
  EXPECT_NE(json.find("\"energy_mj\": null"), std::string::npos);
  EXPECT_NE(json.find("\"memory_of\": \"gpu\""), std::string::npos);
  EXPECT_NE(json.find("\"cost\": null"), std::string::npos) << "a cell that gave no trace";
}

}  // namespace
}  // namespace isobit
