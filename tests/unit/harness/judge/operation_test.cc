// What the judge says of cells that are one operation.
#include "harness/judge/operation.h"

#include <gtest/gtest.h>

namespace isobit {
namespace {

OperationRequest asked_of(std::int64_t rows) {
  OperationRequest asked;
  asked.kind = OperationKind::gemm;
  asked.rows = rows;
  return asked;
}

/// What an honest engine observes.
Observed ran_as(const OperationRequest& asked) {
  Observed o;
  o.operation = name_of(asked.kind);
  o.operand_data = name_of(asked.data);
  o.live_rows = asked.rows;
  o.row_place = name_of(asked.place);
  if (asked.rows > 1) o.neighbour_data = name_of(asked.neighbours);
  o.operand_offset = asked.align;
  o.row_gap = asked.stride;
  return o;
}

std::string verdict(const OperationRequest& asked, const Observed& ran) {
  const Judgement out = check_operation_ran(asked, ran);
  return std::string(name_of(out.verdict)) + (out.reason.empty() ? "" : ": " + out.reason);
}

TEST(OperationJudge, WhatRanIsHeldAgainstWhatWasAsked) {
  OperationRequest asked = asked_of(17);
  asked.place = RowPlace::last;
  asked.neighbours = Neighbours::huge;
  asked.align = 3, asked.stride = 5;
  const Observed honest = ran_as(asked);
  EXPECT_EQ(verdict(asked, honest), "PASS");
  const auto changed = [&](const auto& change) {
    Observed o = honest;
    change(o);
    return verdict(asked, o);
  };
  EXPECT_EQ(changed([](Observed& o) { o.operation = ""; }),
            "FAIL: operation gemm was asked, a model ran");
  EXPECT_EQ(changed([](Observed& o) { o.live_rows = 16; }), "FAIL: rows 17 was asked, 16 ran");
  EXPECT_EQ(changed([](Observed& o) { o.operand_offset = 0; }), "FAIL: align 3 was asked, 0 ran");
  EXPECT_EQ(changed([](Observed& o) { o.row_gap = 0; }), "FAIL: stride 5 was asked, 0 ran");
  EXPECT_EQ(changed([](Observed& o) { o.row_place = "first"; }),
            "FAIL: place last was asked, first ran");
  EXPECT_EQ(changed([](Observed& o) { o.neighbour_data = "zeros"; }),
            "FAIL: neighbours huge was asked, zeros ran");
  EXPECT_EQ(changed([](Observed& o) { o.operand_data = "wide"; }),
            "FAIL: data random was asked, wide ran");
}

TEST(OperationJudge, AnAxisThatWasNotExercisedIsMistrusted) {
  OperationRequest asked = asked_of(1);
  EXPECT_EQ(verdict(asked, ran_as(asked)), "PASS");
  asked.place = RowPlace::last;
  Observed ran = ran_as(asked);
  ran.row_place = "first";
  EXPECT_EQ(verdict(asked, ran),
            "MISTRUSTED: a launch of 1 row has no place that is last and no "
            "other");
  asked = asked_of(1);
  asked.neighbours = Neighbours::zeros;
  EXPECT_EQ(verdict(asked, ran_as(asked)),
            "MISTRUSTED: no launch had a row beside the watched ones");
}

/// Eight rows of a shape; the first `other` of them have other bits.
CellTrace trace_with(std::int64_t other) {
  CellTrace trace;
  PromptTrace& shape = trace.prompts.emplace_back();
  shape.id = "q_proj";
  for (std::int64_t r = 0; r < kWatchedRows; ++r) {
    const std::int64_t row[] = {r, r < other ? 1 : 0};
    TokenRecord& token = shape.tokens.emplace_back();
    token.position = r;
    token.digest = digest_bytes(std::as_bytes(std::span(row)));
  }
  trace.observed = ran_as(asked_of(1));
  trace.observed.engine = "reference";
  trace.observed.device = "cpu";
  trace.observed.precision = "fp32";
  trace.observed.threads = 1;
  return trace;
}

TEST(OperationJudge, EveryWatchedRowMustBeThere) {
  CellTrace trace = trace_with(0);
  EXPECT_EQ(check_all_rows(trace).verdict, Verdict::pass);
  trace.prompts[0].tokens.erase(trace.prompts[0].tokens.begin() + 3);
  EXPECT_EQ(check_all_rows(trace).reason, "shape q_proj: row 3 is missing");
  trace = trace_with(0);
  trace.prompts[0].tokens.push_back({});
  EXPECT_EQ(check_all_rows(trace).reason, "shape q_proj: more rows than were watched");
}

TEST(OperationJudge, SaysBetweenWhichRowsBitsChange) {
  const auto scenario = parse_scenario(
      "version: 1\nname: t\nmodel: {op: gemm, shapes: f.jsonl}\n"
      "axes: {rows: [300, 1, 16, 17], threads: [1, 2]}\n"
      "expect: [{same_bits: {across: [rows, threads]}}]\n",
      "t.yaml", {});
  ASSERT_TRUE(scenario) << scenario.error().text();
  const auto matrix = expand(*scenario, false);
  ASSERT_TRUE(matrix) << matrix.error().text();
  std::vector<JudgeCell> cells;
  for (const Cell& cell : matrix->cells) {
    JudgeCell& made = cells.emplace_back();
    made.state = JudgeCell::State::executed;
    const std::int64_t rows = cell.requested().operation.rows;
    made.attempts.push_back(trace_with(rows < 17 ? 0 : rows == 17 ? 5 : 8));
    Observed& o = made.attempts[0].observed;
    o.live_rows = rows;
    if (rows > 1) o.neighbour_data = "random";
    o.threads = cell.requested().backend.threads;
  }
  const WithinResults within;
  const std::set<GoldenKey> asked;
  const std::map<std::string, std::vector<std::int32_t>> eos;
  const Judged judged =
      judge({*scenario, *matrix, cells, within, nullptr, asked, eos, "2026-11-29"});
  ASSERT_EQ(judged.groups.size(), 1U);
  EXPECT_EQ(judged.groups[0].judgement.verdict, Verdict::diff);
  EXPECT_EQ(judged.groups[0].judgement.reason,
            "bits differ; rows 16 → 17: 5 of 8 rows of shape q_proj differ; again 17 → 300");
  // Against the first cell of the file, 300 rows.
  EXPECT_NE(judged.cells[2].judgement.reason.find("at shape q_proj, row 0"), std::string::npos);
}

}  // namespace
}  // namespace isobit
