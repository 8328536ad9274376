// JSON, JUnit, Markdown and the files they become.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>

#include "reports/report.h"
#include "tests/fakes/folder.h"
#include "tests/unit/reports/sample_report.h"

namespace isobit {
namespace {

namespace fs = std::filesystem;
using test::sample_report;
using std::string_literals::operator""s;

std::string read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

// Every text field filled with what breaks careless writers.
Report hostile_report() {
  Report report = sample_report();
  const std::string evil = "\0\x01<a>&\"'|`]]>\x1b[31m\xFF\xC3\n\u202e```\xEF\xBF\xBF::%0A"s;
  report.scenario = report.question = report.path = report.command = evil;
  report.notes = {evil};
  report.environment = {{evil, evil}};
  for (ReportCell& cell : report.cells) {
    cell.name += evil;
    cell.hash = cell.reason = cell.repro = cell.root = cell.class_label = evil;
    cell.axes[evil] = evil;
    cell.verdict = Verdict::fail;
    cell.seconds = std::numeric_limits<double>::quiet_NaN();
    Difference& d = cell.divergence;
    d.present = true;
    d.against = d.prompt_id = d.text_a = d.text_b = d.digest_a = d.layer_site = evil;
    d.margin = std::numeric_limits<double>::infinity();
  }
  for (GroupResult& group : report.groups) {
    group.rule = group.key = group.judgement.reason = evil;
    group.equal_pairs = {{0, 1}};
  }
  return report;
}

TEST(Json, HoldsEverything) {
  const nlohmann::json json = nlohmann::json::parse(render_json(sample_report()));
  EXPECT_EQ(json["format"], 1);
  EXPECT_EQ(json["counts"]["PASS"], 3);
  EXPECT_EQ(json["counts"]["NOT-RUN"], 0);
  EXPECT_EQ(json["counts"].size(), std::size_t(kVerdicts));
  EXPECT_EQ(json["exit_code"], 1);
  EXPECT_EQ(json["cells"].size(), 5u);
  const auto& cell = json["cells"][3];
  EXPECT_EQ(cell["verdict"], "DIFF");
  EXPECT_EQ(cell["severity"], "flipped");
  EXPECT_EQ(cell["axes"]["batch"], "3");
  EXPECT_EQ(cell["divergence"]["position"], 42);
  EXPECT_EQ(cell["divergence"]["text_b"], "\\xf0\\x9f");
  EXPECT_EQ(cell["divergence"]["margin_hex"], "0x1p-3");
  EXPECT_EQ(cell["divergence"]["distance"]["max_ulp"], 3);
  EXPECT_TRUE(json["cells"][0]["divergence"].is_null());
  EXPECT_EQ(json["groups"][0]["classes"], "AAAB-");
  EXPECT_EQ(json["groups"][0]["cells"][3], "kv%batch=3,cache=on /00000003");
  EXPECT_EQ(json["environment"]["cpu"], "a processor");
}

TEST(Json, SurvivesAnyText) {
  const nlohmann::json json = nlohmann::json::parse(render_json(hostile_report()));
  EXPECT_EQ(json["cells"].size(), 5u);
  EXPECT_TRUE(json["cells"][0]["seconds"].is_null());
  EXPECT_NE(json["scenario"].get<std::string>().find("\\xff\\xc3\n"), std::string::npos);
}

TEST(Junit, OneCaseACellAndAGroup) {
  const std::string expected =
      R"(<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="isobit" tests="7" failures="2" errors="0" time="1.500">
  <testsuite name="kv" tests="7" failures="2" errors="0" skipped="1" time="1.500">
    <properties>
      <property name="run" value="7"/>
      <property name="path" value="scenarios/kv.yaml"/>
      <property name="command" value="isobit check scenarios/kv.yaml"/>
      <property name="exit_code" value="1"/>
      <property name="environment.cpu" value="a processor"/>
    </properties>
    <testcase classname="kv.contract" name="same_bits across batch, cache [engine=reference]" time="0.000">
      <failure type="DIFF" message="DIFF: 2 classes where 1 was promised">5 cells, 288 tokens compared, 50 with other bits, 1 flip (rate below 0.03125 of 200 rows, 95 %)
AAAB-
A  batch {1, 3} cache any   3 cells
B  batch 3 cache on   1 cell
</failure>
    </testcase>
    <testcase classname="kv.contract" name="same_bits across cache [batch=1]" time="0.000"/>
    <testcase classname="kv" name="kv%batch=1,cache=off /00000001" time="0.250"/>
    <testcase classname="kv" name="kv%batch=1,cache=on /00000001" time="0.250"/>
    <testcase classname="kv" name="kv%batch=3,cache=off /00000003" time="0.250"/>
    <testcase classname="kv" name="kv%batch=3,cache=on /00000003" time="0.250">
      <failure type="DIFF" message="DIFF (flipped): same_bits is broken">first difference from kv%batch=1,cache=off
prompt &quot;p2&quot;, generated token 17, position 42, layer 3, attn
token 318 &quot; is&quot; against 290 &quot;\xf0\x9f&quot;, margin 0.125 (0x1p-3)
digest aa01 against bb02
12 elements differ, the first is 1,024 (segment 2 of 8); max 3 ulp, max abs 0.5 (0x1p-1), KL 0.25
50 of 96 tokens with other bits, 1 flipped
repro: isobit repro kv%batch=3,cache=on
</failure>
    </testcase>
    <testcase classname="kv" name="kv%batch=8,cache=on /00000008" time="0.250">
      <skipped message="SKIP: needs a GPU"/>
    </testcase>
    <system-out>2 groups, 5 cells (3 executed, 1 cached), 384 tokens compared, 1.50 s
5 cells: 3 PASS, 1 DIFF, 1 SKIP
each cell was executed once: a fault in more than 95 % of executions would have been seen (95 %)
note: the library changed since the golden
</system-out>
  </testsuite>
</testsuites>
)";
  EXPECT_EQ(render_junit({sample_report()}), expected);
}

/// A report whose cells and groups are all fine, of a run that ended with this code.
Report fine_report(int exit_code) {
  Report report = sample_report();
  report.exit_code = exit_code;
  for (ReportCell& cell : report.cells) cell.verdict = Verdict::pass, cell.severity = {};
  for (GroupResult& group : report.groups) group.judgement = {};
  return report;
}

TEST(Junit, AGroupThatPassesKeepsItsRemark) {
  Report report = fine_report(kExitOk);
  report.groups[1].judgement.reason = "1 of 4 cells were not selected";
  EXPECT_NE(render_junit({report}).find(
                "[batch=1]\" time=\"0.000\">\n      <system-out>1 of 4 cells were not selected"
                "</system-out>\n    </testcase>\n"),
            std::string::npos);
}

TEST(Junit, IsRedWheneverTheExitCodeIs) {
  for (const int code : {kExitDifferent, kExitUsage, kExitInternal, kExitNothing, kExitGolden,
                         kExitEnvironment, kExitMistrusted, kExitNotRun, kExitInterrupted}) {
    Report report = fine_report(code);
    report.notes = {"why"};
    const std::string xml = render_junit({report});
    EXPECT_NE(xml.find("failures=\"1\""), std::string::npos) << xml;
    EXPECT_NE(xml.find("type=\"exit code " + std::to_string(code) + "\""), std::string::npos);
    EXPECT_NE(xml.find("why"), std::string::npos);
  }
  for (const int code : {kExitOk, kExitSkipped}) {
    const std::string xml = render_junit({fine_report(code)});
    EXPECT_EQ(xml.find("<failure"), std::string::npos) << xml;
  }
}

TEST(Junit, MistrustedIsRedUnlessItOnlyWarned) {
  for (const auto& [code, red] : {std::pair{kExitMistrusted, true},
                                  {kExitDifferent, true},
                                  {kExitOk, false},
                                  {kExitGolden, false}}) {
    Report report = fine_report(code);
    report.cells[1].verdict = Verdict::mistrusted;
    const std::string xml = render_junit({report});
    EXPECT_EQ(xml.find("<failure type=\"MISTRUSTED\"") != std::string::npos, red) << code;
    EXPECT_EQ(xml.find("<skipped message=\"MISTRUSTED\"") != std::string::npos, !red) << code;
  }
}

TEST(Junit, AnotherParserReadsWhateverTheTextsHold) {
  if (std::system("python3 -c 'import xml.dom.minidom' 2>/dev/null") != 0) {
    GTEST_SKIP() << "no python3 to read the file with";
  }
  const fakes::Folder folder;
  const std::string path = folder.file("junit.xml");
  ASSERT_TRUE(write_report("junit=" + path, {hostile_report(), sample_report()}));
  const std::string script =
      "import sys, xml.etree.ElementTree as E; r = E.parse(sys.argv[1]).getroot(); "
      "suites = r.findall('testsuite'); assert len(suites) == 2; "
      "assert len(r.findall('.//testcase')) == 14 == int(r.get('tests')); "
      "assert len(r.findall('.//error')) == 5 == int(r.get('errors')); "
      "assert len(r.findall('.//failure')) == int(r.get('failures'))";
  EXPECT_EQ(std::system(("python3 -c \"" + script + "\" " + path).c_str()), 0) << read(path);
}

TEST(Markdown, RedFirstThenTables) {
  const std::string page = render_markdown({sample_report()});
  EXPECT_EQ(page.rfind("## ❌ kv: RED\n\nDoes the cache change the bits?\n\n"
                       "2 groups, 5 cells (3 executed, 1 cached), 384 tokens compared, 1.50 s, "
                       "exit code 1.\n\n5 cells: 3 PASS, 1 DIFF, 1 SKIP.\n\neach cell was "
                       "executed once: a fault in more than 95 % of executions would have been "
                       "seen (95 %).\n\n",
                       0),
            0u)
      << page;
  const std::size_t red = page.find("### DIFF same\\_bits across batch, cache (engine=reference)");
  const std::size_t cell = page.find("**DIFF (flipped)** `kv%batch=3,cache=on /00000003`");
  const std::size_t row = page.find(
      "| PASS | `kv%batch=1,cache=on /00000001` | A | cached "
      "2026-01-02 |\n");
  EXPECT_NE(row, std::string::npos) << page;
  EXPECT_LT(red, cell);
  EXPECT_LT(cell, row);
}

TEST(Markdown, StaysBelowTheLimitAndSaysWhatIsMissing) {
  Report report = sample_report();
  const std::vector<ReportCell> cells = report.cells;
  while (report.cells.size() < 40'000) {
    report.cells.insert(report.cells.end(), cells.begin(), cells.end());
  }
  for (ReportCell& cell : report.cells) cell.reason += std::to_string(&cell - &report.cells[0]);
  const std::string page = render_markdown({report, sample_report()});
  EXPECT_LE(page.size(), 900'000u);
  EXPECT_GT(page.size(), 800'000u);
  EXPECT_NE(page.find(" left out to keep this page small"), std::string::npos);
}

TEST(Markdown, EqualReasonsAreToldOnce) {
  Report report = sample_report();
  for (int i = 0; i < 19; ++i) report.cells.push_back(report.cells[3]);
  const std::string page = render_markdown({report}),
                    once = "same_bits is broken\nfirst difference";
  EXPECT_EQ(page.find(once), page.rfind(once));
  EXPECT_NE(page.find("and 19 more cells with the same reason, in the table of cells below\n"),
            std::string::npos)
      << page;
  const std::string lines = render_annotations({report});
  EXPECT_EQ(std::count(lines.begin(), lines.end(), '\n'), 2) << lines;
  EXPECT_NE(lines.find("same_bits is broken; and 19 more cells with the same reason;"),
            std::string::npos);
}

TEST(Markdown, TextsAreInert) {
  const std::string page = render_markdown({hostile_report()});
  EXPECT_EQ(page.find('\x1b'), std::string::npos);
  EXPECT_EQ(page.find("\n```"), page.find("\n````"));  // no fence that a text could close
  EXPECT_NE(page.find("&lt;a&gt;&amp;"), std::string::npos);
  EXPECT_EQ(page.find('\0'), std::string::npos);
}

TEST(Annotations, AtMostTenLinesEachOne) {
  Report report = hostile_report();
  const std::vector<ReportCell> cells = report.cells;
  while (report.cells.size() < 60) {
    report.cells.insert(report.cells.end(), cells.begin(), cells.end());
  }
  for (ReportCell& cell : report.cells) cell.reason += std::to_string(&cell - &report.cells[0]);
  const std::string lines = render_annotations({report});
  EXPECT_EQ(std::count(lines.begin(), lines.end(), '\n'), 10);
  std::size_t begin = 0;
  for (std::size_t end; (end = lines.find('\n', begin)) != std::string::npos; begin = end + 1) {
    EXPECT_EQ(lines.compare(begin, 8, "::error "), 0);
  }
  EXPECT_NE(lines.find("52 more failures are in the step summary"), std::string::npos) << lines;
  EXPECT_EQ(
      render_annotations({sample_report()})
          .rfind("::error file=scenarios/kv.yaml,title=DIFF (flipped) kv%25batch=3%2Ccache=on::"
                 "same_bits is broken; first difference from",
                 0),
      0u);
}

TEST(WriteReport, RefusesWhatItDoesNotKnow) {
  for (const char* wrong : {"", "junit", "junit=", "=x", "pdf=x", "JUNIT=x"}) {
    const Result<void> result = write_report(wrong, {sample_report()});
    ASSERT_FALSE(result) << wrong;
    EXPECT_EQ(result.error().place, "--report");
  }
}

TEST(WriteReport, KeepsTheEarlierStepSummary) {
  const fakes::Folder folder;
  const std::string path = folder.file("summary.md");
  ASSERT_TRUE(write_file_atomically(path, "earlier\n"));
  ::setenv("GITHUB_STEP_SUMMARY", path.c_str(), 1);
  ASSERT_TRUE(write_report("md=" + path, {sample_report()}));
  ::unsetenv("GITHUB_STEP_SUMMARY");
  EXPECT_EQ(read(path), "earlier\n\n" + render_markdown({sample_report()}));
}

TEST(WriteReport, SeveralScenariosInOneJson) {
  const fakes::Folder folder;
  const std::string path = folder.file("all.json");
  ASSERT_TRUE(write_report("json=" + path, {sample_report(), sample_report()}));
  const nlohmann::json json = nlohmann::json::parse(read(path));
  EXPECT_EQ(json["format"], 1);
  EXPECT_EQ(json["reports"].size(), 2u);
}

TEST(WriteFile, ReplacesWholeAndLeavesNothingBehind) {
  const fakes::Folder folder;
  const std::string path = folder.file("deep/new/file.txt");
  ASSERT_TRUE(write_file_atomically(path, "one"));
  ASSERT_TRUE(write_file_atomically(path, std::string(1 << 20, 'x')));
  EXPECT_EQ(read(path).size(), std::size_t(1 << 20));
  EXPECT_EQ(fs::file_size(path), std::uintmax_t(1 << 20));
  EXPECT_EQ(
      std::distance(fs::directory_iterator(fs::path(path).parent_path()), fs::directory_iterator()),
      1);
  const mode_t mask = ::umask(0);
  ::umask(mask);
  struct stat status {};
  ASSERT_EQ(::stat(path.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0666 & ~mask);
}

TEST(WriteFile, FollowsALink) {
  const fakes::Folder folder;
  const std::string target = folder.file("target"), link = folder.file("link");
  ASSERT_TRUE(write_file_atomically(target, "old"));
  fs::create_symlink("target", link);
  ASSERT_TRUE(write_file_atomically(link, "new"));
  EXPECT_TRUE(fs::is_symlink(link));
  EXPECT_EQ(read(target), "new");
}

TEST(WriteFile, ErrorsNameThePathAndKeepTheOldFile) {
  const fakes::Folder folder;
  const std::string file = folder.file("file");
  ASSERT_TRUE(write_file_atomically(file, "old"));
  const Result<void> below = write_file_atomically(file + "/below", "x");
  ASSERT_FALSE(below);
  EXPECT_EQ(below.error().place, file + "/below");
  const Result<void> is_folder = write_file_atomically((folder.file(".")), "x");
  ASSERT_FALSE(is_folder);
  EXPECT_NE(is_folder.error().message.find("folder"), std::string::npos);
  EXPECT_EQ(read(file), "old");
  EXPECT_EQ(folder.entries(), 1u);
  const Result<void> full = write_file_atomically("/dev/full", "x");
  ASSERT_FALSE(full);
  EXPECT_NE(full.error().message.find("write"), std::string::npos);
}

}  // namespace
}  // namespace isobit
