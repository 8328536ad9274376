// The page: what it must hold, what no text can do to it, its rules of content, its size.
#include <gtest/gtest.h>
#include <openssl/sha.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "reports/describe.h"
#include "reports/html/assets.h"
#include "reports/html/markup.h"
#include "reports/html/sections.h"
#include "tests/unit/reports/sample_report.h"

namespace isobit {
namespace {

using std::string_literals::operator""s;
using test::sample_cell;
using test::sample_report;

std::size_t count_of(const std::string& page, const std::string& what) {
  std::size_t count = 0;
  for (std::size_t at = page.find(what); at != std::string::npos; at = page.find(what, at + 1)) {
    ++count;
  }
  return count;
}

bool holds(const std::string& page, const std::string& what) {
  return page.find(what) != std::string::npos;
}

/// The contents of every element that begins so.
std::vector<std::string> contents_of(const std::string& page, const std::string& begin,
                                     const std::string& end) {
  std::vector<std::string> out;
  for (std::size_t at = page.find(begin); at != std::string::npos; at = page.find(begin, at)) {
    const std::size_t from = at + begin.size(), to = page.find(end, from);
    out.push_back(page.substr(from, to - from));
    at = to;
  }
  return out;
}

std::string base64_of_sha256(const std::string& bytes) {
  unsigned char hash[SHA256_DIGEST_LENGTH];
  SHA256(reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(), hash);
  const std::string letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string bits, out;
  for (const unsigned char byte : hash) {
    for (int i = 7; i >= 0; --i) bits += (byte >> i & 1) != 0 ? '1' : '0';
  }
  while (bits.size() % 6 != 0) bits += '0';
  for (std::size_t i = 0; i < bits.size(); i += 6) {
    out += letters[std::stoul(bits.substr(i, 6), nullptr, 2)];
  }
  while (out.size() % 4 != 0) out += '=';
  return out;
}

ReportSide side(std::int32_t id, const char* digest) {
  return {id, digest, 0.125, {{id, 4.5}, {7, 4.375}}};
}

/// With rows of both sides, layers, margins, a measured group and an earlier run.
Report whole_report() {
  Report report = sample_report();
  ReportDetail& detail = report.detail;
  detail.read = true;
  detail.started = "2026-11-22T13:40:00Z";
  ReportWindow window;
  window.cell = 3;
  window.prompt_id = "p2";
  window.name_a = "kv%batch=1,cache=off /00000001";
  window.name_b = "kv%batch=3,cache=on /00000003";
  window.text_a = "it is";
  window.text_b = "it was";
  window.rows = {{41, side(5, "aa00"), side(5, "aa00"), true},
                 {42, side(318, "aa01"), side(290, "bb02"), true},
                 {43, side(1, "aa02"), side(2, "bb03"), false}};
  window.before = 3;
  window.after = 70;
  window.layers = {
      {41, 42}, {-1, 0, 1}, {1, 2, 2, 1, 2, 2}, {0, 0, 0, 0, 1, 2}, {"", "layer 0, attn"}};
  detail.windows = {window};
  detail.margins = {{"A", {0, 0, 1, 0, 3, 5, 40, 40, 2}}};
  detail.earlier = {6, 0, "2026-11-21T09:00:00Z", {{"lib.libopenblas.so.0", "aaaa", "bbbb"}}};
  report.groups[0].divergence_index = {-1, 17, 3};
  report.groups[0].flip_margins = {0.125F};
  MeasuredGroup measured;
  measured.rule = "measure across batch";
  measured.cells = {0, 3};
  measured.configurations = 2;
  measured.prompts = 4;
  measured.values = {{"std_accuracy", 1.25, 0.5, 4, "", {}}};
  MeasuredPair pair;
  pair.configuration = "batch=3";
  pair.reference = "batch=1";
  pair.values = {{"kl", 0.00123, 0.0001, 4, "", {{"rows", 36}}}};
  pair.layers = {{0, "h2", 36, 0.36, 360, 0.5, 1, 1, 1, 0},
                 {1, "h2", 36, 0.72, 360, 1, 1, 1, 1, 0}};
  measured.pairs = {pair};
  report.measured = {measured};
  return report;
}

/// Every text filled with what breaks careless writers.
Report hostile_report() {
  const std::string evil =
      "\0\x01</script><script>alert(1)</script><!--<img src=x onerror=alert(2)>\"'`&amp;]]>"
      "\x1b[31m\xFF\xC3\n\u202e javascript:alert(3) {{7*7}} </title></style>"s;
  Report report = whole_report();
  report.scenario = report.question = report.path = report.command = evil;
  report.notes = {evil};
  report.environment = {{evil, evil}};
  int n = 0;
  for (ReportCell& cell : report.cells) {
    cell.name += evil;
    cell.hash = cell.reason = cell.repro = cell.root = cell.imported = evil;
    cell.class_label = evil;
    cell.axes = {{evil, evil + std::to_string(++n)}, {"b" + evil, evil + std::to_string(n % 2)}};
    cell.verdict = Verdict::fail;
    Difference& d = cell.divergence;
    d = test::sample_divergence();
    d.against = d.prompt_id = d.text_a = d.text_b = d.digest_a = d.layer_site = d.cause = evil;
  }
  for (GroupResult& group : report.groups) group.rule = group.key = group.judgement.reason = evil;
  for (MeasuredGroup& group : report.measured) {
    group.rule = group.key = evil;
    group.pairs[0].configuration = group.pairs[0].reference = evil;
    group.values[0].reason = group.values[0].metric = evil;
  }
  ReportDetail& detail = report.detail;
  detail.started = detail.commit = evil;
  ReportWindow& window = detail.windows[0];
  window.prompt_id = window.name_a = window.name_b = window.text_a = window.text_b = evil;
  window.layers.first = {evil, evil};
  detail.margins[0].class_label = evil;
  detail.earlier.started = evil;
  detail.earlier.changes = {{evil, evil, evil}};
  return report;
}

TEST(Html, EscapesTextAndAttributes) {
  EXPECT_EQ(html::text("<b>&\"\x01\u202e").bytes(), "&lt;b&gt;&amp;&quot;\\x01\\u{202e}");
  EXPECT_EQ(html::tag("a", {{"href", "#\"><x>"}}, html::text("<")).bytes(),
            "<a href=\"#&quot;&gt;&lt;x&gt;\">&lt;</a>");
  EXPECT_EQ(html::tag("details", {{"open", ""}, {"class", ""}}).bytes(),
            "<details open></details>");
  EXPECT_EQ(html::script_safe("</script><!--&"), "\\u003c/script\\u003e\\u003c!--\\u0026");
}

TEST(Html, PrintsNumbersOneWay) {
  EXPECT_EQ(html::number(0.125), "0.125");
  EXPECT_EQ(html::number(1234567.0), "1.23457e+06");
  EXPECT_EQ(html::number(-0.0), "-0");
  EXPECT_EQ(html::number(std::nan("")), "NaN");
}

TEST(Html, RedReportHasEverySection) {
  const std::string page = render_html({whole_report()});
  for (const char* title : {"What broke", "Matrix of cells", "First divergences and margins",
                            "Metrics, scores and cost", "Environment", "All groups", "All cells",
                            "What the words mean"}) {
    EXPECT_TRUE(holds(page, ">"s + title + "</h2>")) << title;
  }
  // The verdict comes before anything else, and red before what is fine.
  EXPECT_LT(page.find("✗ RED"), page.find(">What broke</h2>"));
  EXPECT_LT(page.find(">What broke</h2>"), page.find(">Matrix of cells</h2>"));
  for (const char* words :
       {"DIFF (flipped)", "A token changed", "<code>p2</code>", "17 (position 42)",
        "318 <code>&quot; is&quot;</code>", "position 42, token 318 against 290", "layer 3, attn",
        "isobit repro kv%batch=3,cache=on", "batch {1, 3} cache any", "libopenblas",
        "run 6 of 2026-11-21T09:00:00Z"}) {
    EXPECT_TRUE(holds(page, words)) << words;
  }
  for (const char* kind : {"timeline", "heatmap", "histogram", "drift"}) {
    EXPECT_TRUE(holds(page, "data-chart=\""s + kind)) << kind;
  }
}

TEST(Html, SaysHowToFindALayerThatWasNotRecorded) {
  Report report = whole_report();
  report.cells[3].divergence.layer_site = "";
  report.cells[0].hash = "1234567890abcdef";
  EXPECT_TRUE(holds(render_html({report}), "isobit diff 7:/12345678 7:/00000003"));
}

TEST(Html, GreenReportSaysThatNothingBroke) {
  Report report = sample_report();
  report.exit_code = 0;
  report.counts = {3};
  report.cells.resize(3);
  report.groups.erase(report.groups.begin());
  report.notes.clear();
  const std::string page = render_html({report});
  EXPECT_TRUE(holds(page, "✓ PASS"));
  EXPECT_TRUE(holds(page, ">Nothing broke</h2>"));
  EXPECT_FALSE(holds(page, "badge red\">DIFF"));
}

TEST(Html, NoTextBecomesMarkup) {
  const std::string calm = render_html({whole_report()}), page = render_html({hostile_report()});
  // As many scripts, styles, titles and comments as without a hostile text: none was added.
  for (const char* piece : {"<script", "</script", "<style", "</style", "<title", "</title", "<!--",
                            "<img", "<!DOCTYPE"}) {
    EXPECT_EQ(count_of(page, piece), count_of(calm, piece)) << piece;
  }
  const std::string visible = page.substr(0, page.find("<script type=\"application/json\""));
  for (const char* piece :
       {"onerror=alert(2)>", "javascript:alert(3) {{7*7}} <", "\x01", "\x1b", "\u202e"}) {
    EXPECT_FALSE(holds(visible, piece)) << piece;
  }
  EXPECT_EQ(page.find('\0'), std::string::npos);
  EXPECT_FALSE(holds(page, "href=\"javascript"));
  for (const char byte : page) ASSERT_NE(byte, '\xFF');
}

TEST(Html, DataIsJsonThatNoTextCloses) {
  const std::string page = render_html({hostile_report()});
  const auto blocks =
      contents_of(page, "<script type=\"application/json\" id=\"data\">", "</script>");
  ASSERT_EQ(blocks.size(), 1u);
  const auto data = nlohmann::json::parse(blocks[0]);
  ASSERT_EQ(data.size(), 1u);
  EXPECT_EQ(data[0]["cells"].size(), 5u);
  EXPECT_EQ(data[0]["windows"][0]["rows"][1]["a"]["id"], 318);
  EXPECT_TRUE(holds(data[0]["axes"][0].get<std::string>(), "</script><script>alert(1)"));
  EXPECT_FALSE(holds(blocks[0], "<"));
}

TEST(Html, RulesAllowTheScriptsThatAreThere) {
  const std::string page = render_html({sample_report()});
  const auto rules = contents_of(page, "http-equiv=\"Content-Security-Policy\" content=\"", "\"");
  ASSERT_EQ(rules.size(), 1u);
  EXPECT_TRUE(rules[0].starts_with("default-src 'none'; script-src 'sha256-"));
  EXPECT_FALSE(holds(rules[0], "unsafe"));
  std::size_t hashes = 0;
  for (const char* element : {"script", "style"}) {
    const std::string begin = "<"s + element + ">", end = "</"s + element + ">";
    for (const std::string& content : contents_of(page, begin, end)) {
      EXPECT_TRUE(holds(rules[0], "'sha256-" + base64_of_sha256(content) + "'")) << element;
      ++hashes;
    }
  }
  EXPECT_EQ(hashes, count_of(rules[0], "sha256-"));
  EXPECT_EQ(hashes, std::string(html::kChartLibrary).empty() ? 2u : 3u);
  // The rules forbid attributes with style or script in them; nothing may need them.
  const std::string markup = page.substr(0, page.find("<script>"));
  EXPECT_FALSE(holds(markup, " style=\""));
  EXPECT_FALSE(holds(markup, " onclick="));
  for (const char* asset : {html::kPageCss, html::kPageJs}) {
    EXPECT_FALSE(holds(asset, "http:")) << asset;
    EXPECT_FALSE(holds(asset, "https:")) << asset;
    EXPECT_FALSE(holds(asset, "</")) << asset;
  }
}

TEST(Html, SaysWhetherChartsAreThere) {
  const std::string page = render_html({sample_report()});
  const bool charts = !std::string(html::kChartLibrary).empty();
  EXPECT_EQ(holds(page, "Charts by d3"), charts);
  EXPECT_EQ(holds(page, "Charts are missing"), !charts);
  EXPECT_EQ(holds(page, "Redistributions of source code must retain"), charts);
}

TEST(Html, SameBytesForTheSameReports) {
  const std::vector<Report> reports = {whole_report(), hostile_report()};
  EXPECT_EQ(render_html(reports), render_html(reports));
  Report other = whole_report();
  other.tokens_compared += 1;
  EXPECT_NE(render_html({other}), render_html({whole_report()}));
}

TEST(Html, SeveralReportsShareOnePage) {
  const std::string page = render_html({sample_report(), whole_report()});
  EXPECT_EQ(count_of(page, "<h1"), 1u);
  EXPECT_EQ(count_of(page, "<article"), 2u);
  EXPECT_EQ(count_of(page, "id=\"r0-cells\""), 1u);
  EXPECT_EQ(count_of(page, "id=\"r1-cells\""), 1u);
  EXPECT_TRUE(holds(page, "0 of 2 scenarios pass"));
  EXPECT_TRUE(holds(render_html({}), "0 of 0 scenarios pass"));
}

/// 1,000 cells over five axes; a tenth of them differ, each with its own place and reason.
Report large_report() {
  Report report = whole_report();
  report.cells.clear();
  report.groups.clear();
  report.detail.windows.resize(16, report.detail.windows[0]);
  for (int i = 0; i < 1000; ++i) {
    ReportCell cell = sample_cell("1", "on", i % 10 == 9 ? Verdict::diff : Verdict::pass);
    cell.axes = {{"precision", "p" + std::to_string(i / 100)},
                 {"batch", std::to_string(i / 20 % 5)},
                 {"cache", "{chunked: " + std::to_string(i % 10) + "}"},
                 {"gpus", std::to_string(i / 10 % 2)},
                 {"engine", "reference"}};
    char hash[20];
    std::snprintf(hash, sizeof hash, "%016x", unsigned(i) * 2654435761u);
    cell.hash = hash;
    cell.name = "large%batch=" + cell.axes["batch"] + ",cache=" + cell.axes["cache"] +
                ",engine=reference,gpus=" + cell.axes["gpus"] +
                ",precision=" + cell.axes["precision"];
    if (i % 10 == 9) {
      cell.class_label = "B";
      cell.reason = "differs from " + cell.name + " at prompt p2, position " + std::to_string(i);
      cell.divergence = test::sample_divergence();
      cell.repro = "isobit repro scenarios/large.yaml --cell /" + cell.hash.substr(0, 8);
    }
    report.cells.push_back(cell);
  }
  for (int g = 0; g < 10; ++g) {
    GroupResult group;
    group.rule = "same_bits across batch, cache, gpus";
    group.key = "precision=p" + std::to_string(g);
    group.judgement = {Verdict::diff, Severity::none, "bits differ"};
    for (int i = 0; i < 100; ++i) group.cells.push_back(g * 100 + i);
    group.differing = 1;
    report.groups.push_back(group);
  }
  report.measured[0].cells = {0, 1};
  for (std::size_t w = 0; w < 16; ++w) report.detail.windows[w].cell = int(w) * 10 + 9;
  return report;
}

TEST(Html, ThousandCellsStayUnderTwoMegabytes) {
  const std::string page = render_html({large_report()});
  EXPECT_LT(page.size(), 2'000'000u);
  EXPECT_EQ(count_of(page, "<tr id=\"r0-c"), 1000u);
  EXPECT_GE(count_of(page, "<details class=\"axis\""), 10u);
  EXPECT_TRUE(holds(page, "left out"));
  RecordProperty("bytes", int(page.size()));
}

TEST(Html, ClassesHaveColours) {
  EXPECT_EQ(html::class_colour("A"), "k0");
  EXPECT_EQ(html::class_colour("I"), "k8");
  EXPECT_EQ(html::class_colour("J"), "k0");
  EXPECT_EQ(html::class_colour("!"), "kf");
  EXPECT_EQ(html::class_colour("-"), "kn");
  EXPECT_EQ(html::class_colour(std::string(500, 'Z')).size(), 2u);
}

TEST(Html, IsAKindOfReport) {
  EXPECT_TRUE(wants_detail({"junit=a.xml", "html=b.html"}));
  EXPECT_FALSE(wants_detail({"junit=a.xml"}));
}

}  // namespace
}  // namespace isobit
