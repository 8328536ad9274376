#include <gtest/gtest.h>

#include <string>

#include "reports/describe.h"
#include "reports/report.h"
#include "tests/unit/reports/sample_report.h"

namespace isobit {
namespace {

using test::sample_cell;
using test::sample_report;

constexpr const char* kSummary =
    "RED  kv: 2 groups, 5 cells (3 executed, 1 cached), 384 tokens compared, 1.50 s, exit code 1\n"
    "5 cells: 3 PASS, 1 DIFF, 1 SKIP\n"
    "each cell was executed once: a fault in more than 95 % of executions would have been seen "
    "(95 %)\n";

TEST(Terminal, TellsFailuresLast) {
  const std::string expected =
      "kv: Does the cache change the bits?\n"
      "scenarios/kv.yaml, run 7\n"
      "  SKIP  1 cell: needs a GPU\n"
      "  PASS  same_bits across cache  [batch=1]  2 cells, 96 tokens compared\n"
      "  note: the library changed since the golden\n"
      "\n"
      "DIFF  same_bits across batch, cache  [engine=reference]\n"
      "  2 classes where 1 was promised\n"
      "  5 cells, 288 tokens compared, 50 with other bits, 1 flip (rate below 0.03125 of 200 "
      "rows, 95 %)\n"
      "    AAAB-\n"
      "    A  batch {1, 3} cache any   3 cells\n"
      "    B  batch 3 cache on   1 cell\n"
      "\n"
      "DIFF (flipped)  kv%batch=3,cache=on /00000003\n"
      "  same_bits is broken\n"
      "  first difference from kv%batch=1,cache=off\n"
      "  prompt \"p2\", generated token 17, position 42, layer 3, attn\n"
      "  token 318 \" is\" against 290 \"\\xf0\\x9f\", margin 0.125 (0x1p-3)\n"
      "  digest aa01 against bb02\n"
      "  12 elements differ, the first is 1,024 (segment 2 of 8); max 3 ulp, max abs 0.5 (0x1p-1), "
      "KL 0.25\n"
      "  50 of 96 tokens with other bits, 1 flipped\n"
      "  classes AAAB-, this cell B\n"
      "  repro   isobit repro kv%batch=3,cache=on\n"
      "\n";
  EXPECT_EQ(render_terminal(sample_report(), {}), expected + kSummary);
}

TEST(Terminal, QuietIsTheSummaryAlone) {
  TerminalStyle style;
  style.quiet = true;
  EXPECT_EQ(render_terminal(sample_report(), style), kSummary);
}

TEST(Terminal, VerboseListsEveryCell) {
  TerminalStyle style;
  style.verbose = true;
  const std::string text = render_terminal(sample_report(), style);
  EXPECT_NE(text.find("  PASS       A 0123456789abcdef  kv%batch=1,cache=on /00000001"
                      "  cached 2026-01-02\n"),
            std::string::npos)
      << text;
  EXPECT_NE(text.find("  cpu: a processor\n"), std::string::npos);
}

TEST(Terminal, ColorOnlyWhenAsked) {
  TerminalStyle style;
  EXPECT_EQ(render_terminal(sample_report(), style).find('\x1b'), std::string::npos);
  style.color = true;
  const std::string text = render_terminal(sample_report(), style);
  EXPECT_NE(text.find("\x1b[1;31mDIFF (flipped)\x1b[0m"), std::string::npos);
  EXPECT_NE(text.find("\x1b[1;31mRED\x1b[0m"), std::string::npos);
}

TEST(Terminal, TextsCannotMoveTheCursor) {
  Report report = sample_report();
  report.cells[3].reason = "\x1b[2J\r\nall green";
  report.cells[3].divergence.text_a = "\x1b]0;x\x07";
  const std::string text = render_terminal(report, {});
  EXPECT_EQ(text.find('\x1b'), std::string::npos);
  EXPECT_EQ(text.find('\r'), std::string::npos);
  EXPECT_NE(text.find("\\x1b[2J\\r\\nall green"), std::string::npos);
}

TEST(Terminal, GoldensAreToldByReason) {
  Report report;
  report.scenario = "s";
  report.exit_code = kExitGolden;
  for (const char* batch : {"1", "3", "8"}) {
    report.cells.push_back(sample_cell(batch, "on", Verdict::nogold));
    report.cells.back().reason = "no golden yet";
    report.cells.back().repro = std::string("isobit repro ") + batch;
  }
  report.counts[std::size_t(Verdict::nogold)] = 3;
  const std::string text = render_terminal(report, {});
  EXPECT_NE(text.find("  NOGOLD  3 cells: no golden yet\n"
                      "    first: kv%batch=1,cache=on /00000001\n"
                      "    repro: isobit repro 1\n"),
            std::string::npos)
      << text;
  EXPECT_NE(text.find("GOLDENS MISSING OR STALE"), std::string::npos);
}

TEST(Terminal, ManyFailuresAreCounted) {
  Report report;
  report.scenario = "s";
  report.exit_code = 1;
  for (int i = 0; i < 50; ++i) {
    report.cells.push_back(sample_cell("3", "on", Verdict::fail));
    report.cells.back().name = "cell" + std::to_string(i);
    report.cells.back().reason = "for its own reason " + std::to_string(i);
  }
  const std::string text = render_terminal(report, {});
  EXPECT_NE(text.find("cell19 "), std::string::npos);
  EXPECT_EQ(text.find("cell20 "), std::string::npos);
  EXPECT_NE(text.find("and 30 more failing cells: -v shows all"), std::string::npos);
  TerminalStyle style;
  style.verbose = true;
  EXPECT_NE(render_terminal(report, style).find("FAIL  cell49 "), std::string::npos);
}

TEST(Terminal, EqualReasonsAreToldOnce) {
  Report report;
  report.scenario = "s";
  report.exit_code = 1;
  for (int i = 0; i < 20; ++i) {
    report.cells.push_back(sample_cell("3", "on", i < 18 ? Verdict::fail : Verdict::mistrusted));
    report.cells.back().name = "cell" + std::to_string(i);
    report.cells.back().reason = i == 7 ? "no result within 3 s" : "out of memory";
  }
  const std::string text = render_terminal(report, {});
  EXPECT_NE(text.find("FAIL  cell0 /00000003\n  out of memory\n  and 16 more cells with the same "
                      "reason: -v shows all\n\nFAIL  cell7 /00000003\n  no result within 3 s\n\n"
                      "MISTRUSTED  cell18 /00000003\n  out of memory\n  and 1 more cell with the "
                      "same reason: -v shows all\n"),
            std::string::npos)
      << text;
  TerminalStyle style;
  style.verbose = true;
  EXPECT_NE(render_terminal(report, style).find("FAIL  cell17 "), std::string::npos);
  // Cells that differ in the same place by other bits are no repetition.
  report = sample_report();
  report.cells.push_back(report.cells[3]);
  report.cells.back().class_label = "C";
  report.cells.push_back(report.cells[3]);
  const std::vector<AlikeCells> alike = alike_red_cells(report);
  ASSERT_EQ(alike.size(), 2U);
  EXPECT_EQ(alike[0].others, 1);
  EXPECT_EQ(alike[1].first, 5U);
}

TEST(Terminal, GroupsWithOneReasonAreToldOnce) {
  Report report = sample_report();
  report.groups = {GroupResult{}, GroupResult{}, GroupResult{}};
  const char* keys[] = {"precision=fp32", "precision=bf16", "precision=fp16"};
  for (std::size_t i = 0; i < 3; ++i) {
    GroupResult& group = report.groups[i];
    group.rule = "same_bits across batch";
    group.key = keys[i];
    group.judgement = {Verdict::not_run, Severity::none, "vacuous: 0 of 2 cells"};
    group.cells = {0, 1};
  }
  const std::string text = render_terminal(report, {});
  EXPECT_EQ(text.find("vacuous"), text.rfind("vacuous"));
  EXPECT_NE(text.find("NOT-RUN  same_bits across batch  [precision=fp32]\n"), std::string::npos);
  EXPECT_NE(text.find("\n  and 2 more groups with the same reason: [precision=bf16], "
                      "[precision=fp16]: -v shows all\n"),
            std::string::npos)
      << text;
  TerminalStyle verbose;
  verbose.verbose = true;
  EXPECT_NE(render_terminal(report, verbose)
                .find("\nNOT-RUN  same_bits across batch  "
                      "[precision=fp16]\n"),
            std::string::npos);
  for (GroupResult& group : report.groups) group.differing = 1;
  EXPECT_EQ(alike_bad_groups(report).size(), 3U) << "each has a picture of its own";
}

TEST(Agreement, CountsExecutionsNotRows) {
  Report report = sample_report();
  for (GroupResult& group : report.groups) group.differing = 0;
  report.cells[3].divergence = {};
  const std::string seen = " of executions would have been seen (95 %)";
  EXPECT_EQ(agreement_text(report),
            "0 of 384 rows differ; each cell was executed once: a fault in more than 95 %" + seen);
  for (ReportCell& cell : report.cells) cell.executions *= 3;
  EXPECT_EQ(
      agreement_text(report),
      "0 of 384 rows differ; 3 executions of each cell agree: a fault in more than 63.2 %" + seen);
  report.cells[2].executions = 2;  // a run that was stopped
  EXPECT_EQ(
      agreement_text(report),
      "0 of 384 rows differ; 2 executions of each cell agree: a fault in more than 77.6 %" + seen);
  report.environment["mpi"] = "Open MPI, 4 processes";
  EXPECT_EQ(agreement_text(report),
            "0 of 384 rows differ; 2 executions of each cell agree, all in the same processes: a "
            "fault in more than 95 %" +
                seen);
  EXPECT_EQ(independent_executions(report), 1);
  report.groups[0].differing = 5;
  EXPECT_EQ(agreement_text(report).rfind("2 executions of each cell", 0), 0U);
  report.cells[0].verdict = Verdict::nondet;
  EXPECT_EQ(agreement_text(report), "");
  report = sample_report();
  report.tokens_compared = 0;
  EXPECT_EQ(agreement_text(report), "") << "nothing was compared";
}

TEST(Counts, AreThoseThatWereGiven) {
  Report report = sample_report();
  report.counts[std::size_t(Verdict::pass)] = 0;
  report.counts[std::size_t(Verdict::obsolete)] = 1;
  EXPECT_EQ(counts_text(report), "5 cells: 0 PASS, 1 DIFF, 1 SKIP; 1 OBSOLETE golden block");
}

TEST(Picture, WrapsTheLettersAndSortsNumbers) {
  Report report;
  GroupResult group;
  for (const char* batch : {"1", "10", "9", "2"}) {
    group.cells.push_back(int(report.cells.size()));
    report.cells.push_back(sample_cell(batch, "on", Verdict::pass));
  }
  report.cells[3].class_label = "B";
  EXPECT_EQ(
      picture_lines(group, report, 80),
      (std::vector<std::string>{"AAAB", "A  batch {1, 9, 10}   3 cells", "B  batch 2   1 cell"}));
  group.cells = std::vector<int>(12, 0);
  EXPECT_EQ(picture_lines(group, report, 10),
            (std::vector<std::string>{"AAAAAAAAAA", "AA", "A  12 cells"}));
}

TEST(Picture, ManyClassesHaveWholeNames) {
  Report report;
  GroupResult group;
  for (const char* label : {"A", "Z", "AA", "AB", "-", "!"}) {
    group.cells.push_back(int(report.cells.size()));
    report.cells.push_back(sample_cell("1", "on", Verdict::pass));
    report.cells.back().class_label = label;
  }
  EXPECT_EQ(letters_of(group, report), "A Z AA AB - !");
  const std::vector<std::string> lines = picture_lines(group, report, 10);
  ASSERT_GE(lines.size(), 2U);
  EXPECT_EQ(lines[0], "A Z AA AB");
  EXPECT_EQ(lines[1], "- !");
}

TEST(ProgressText, ShowsRateAndRemainingTime) {
  EXPECT_EQ(progress_text(0, 10, 0, 0, "", 100, false), "0/10 cells");
  EXPECT_EQ(progress_text(5, 10, 1, 10, "kv%batch=3", 100, false),
            "5/10 cells, 1 failed, 0.5/s, 10.0 s left  kv%batch=3");
  EXPECT_EQ(progress_text(5, 10, 0, 10, "", 100, true),
            "[############............] 5/10 cells, 0.5/s, 10.0 s left");
  EXPECT_EQ(progress_text(10, 10, 0, 10, "", 100, false), "10/10 cells, 1/s");
  EXPECT_EQ(progress_text(1, 2, 0, 1, "äöü\n", 40, false), "1/2 cells, 1/s, 1.00 s left  äöü\\n");
  EXPECT_EQ(progress_text(1, 2, 0, 1, "äöü", 31, false), "1/2 cells, 1/s, 1.00 s left  ä…");
  EXPECT_EQ(progress_text(3, 0, 0, 1, "", 100, true), "[........................] 3/0 cells, 3/s");
}

}  // namespace
}  // namespace isobit
