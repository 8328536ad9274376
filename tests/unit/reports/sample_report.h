// A report with one of everything, for the renderers' tests.
#pragma once

#include "reports/report.h"

namespace isobit::test {

inline ReportCell sample_cell(const char* batch, const char* cache, Verdict verdict) {
  ReportCell cell;
  cell.name = std::string("kv%batch=") + batch + ",cache=" + cache;
  cell.hash = std::string("0000000") + batch;
  cell.axes = {{"batch", batch}, {"cache", cache}, {"engine", "reference"}};
  cell.verdict = verdict;
  cell.class_label = "A";
  cell.root = "0123456789abcdef";
  cell.tokens = 96;
  cell.seconds = 0.25;
  return cell;
}

inline Difference sample_divergence() {
  Difference divergence;
  divergence.present = true;
  divergence.against = "kv%batch=1,cache=off";
  divergence.prompt_id = "p2";
  divergence.index = 17;
  divergence.position = 42;
  divergence.id_a = 318;
  divergence.id_b = 290;
  divergence.text_a = " is";
  divergence.text_b = "\xF0\x9F";  // half an emoji
  divergence.digest_a = "aa01";
  divergence.digest_b = "bb02";
  divergence.margin = 0.125;
  divergence.layer_site = "layer 3, attn";
  divergence.differing = 50;
  divergence.tokens = 96;
  divergence.flipped = 1;
  divergence.has_distance = true;
  divergence.distance.differing = 12;
  divergence.distance.first_element = 1024;
  divergence.distance.first_segment = 2;
  divergence.distance.max_ulp = 3;
  divergence.distance.max_abs = 0.5;
  divergence.distance.kl = 0.25;
  return divergence;
}

/// Five cells: three equal (one of them cached), one DIFF, one SKIP; one group that broke, one
/// that holds.
inline Report sample_report() {
  Report report;
  report.scenario = "kv";
  report.question = "Does the cache change the bits?";
  report.path = "scenarios/kv.yaml";
  report.command = "isobit check scenarios/kv.yaml";
  report.run = 7;
  report.exit_code = 1;
  report.seconds = 1.5;
  report.cells_executed = 3;
  report.cells_cached = 1;
  report.tokens = 384;
  report.tokens_compared = 384;
  report.environment = {{"cpu", "a processor"}};
  report.notes = {"the library changed since the golden"};
  report.counts[std::size_t(Verdict::pass)] = 3;
  report.counts[std::size_t(Verdict::diff)] = 1;
  report.counts[std::size_t(Verdict::skip)] = 1;

  report.cells = {sample_cell("1", "off", Verdict::pass), sample_cell("1", "on", Verdict::pass),
                  sample_cell("3", "off", Verdict::pass), sample_cell("3", "on", Verdict::diff),
                  sample_cell("8", "on", Verdict::skip)};
  report.cells[1].cached = true;
  report.cells[1].cached_date = "2026-01-02";
  for (ReportCell& cell : report.cells) cell.executions = 1;
  report.cells[4].executions = 0;
  report.cells[4].class_label = "-";
  report.cells[4].root = "";
  report.cells[4].reason = "needs a GPU";

  ReportCell& broken = report.cells[3];
  broken.severity = Severity::flipped;
  broken.class_label = "B";
  broken.reason = "same_bits is broken";
  broken.repro = "isobit repro kv%batch=3,cache=on";
  broken.divergence = sample_divergence();

  GroupResult red;
  red.rule = "same_bits across batch, cache";
  red.key = "engine=reference";
  red.judgement = {Verdict::diff, Severity::none, "2 classes where 1 was promised"};
  red.cells = {0, 1, 2, 3, 4};
  red.compared_tokens = 288;
  red.differing = 50;
  red.flipped = 1;
  red.comparable_rows = 200;
  red.flip_rate_bound = 0.03125;
  GroupResult green;
  green.rule = "same_bits across cache";
  green.key = "batch=1";
  green.cells = {0, 1};
  green.compared_tokens = 96;
  report.groups = {red, green};
  return report;
}

}  // namespace isobit::test
