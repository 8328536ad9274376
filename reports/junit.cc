// JUnit XML for CI systems: one suite a scenario, one case a cell and one a contract group.
//
// FAIL is an <error>; a cell or group that is red, or proves nothing, is a <failure>; SKIP, XFAIL,
// NOT-RUN and DEFERRED are <skipped> with the verdict in the message, and so is MISTRUSTED where it
// only warns. A suite whose exit code is neither 0 nor 77 has a failure or an error: when no case
// says why, one named after the exit code does. Valid against Jenkins' junit-10.xsd and well-formed
// XML 1.0, whatever the texts hold.
#include <cmath>
#include <cstdio>
#include <string>

#include "reports/describe.h"
#include "reports/report.h"
#include "runtime/base/text.h"

namespace isobit {
namespace {

enum class Kind { passed, skipped, failure, error };

/// `exit_code`: of the run, which says whether MISTRUSTED only warns (--lenient).
Kind kind_of(Verdict verdict, int exit_code) {
  using enum Verdict;
  switch (verdict) {
    case pass:
      return Kind::passed;
    case mistrusted:
      return graver_exit_code(exit_code, kExitMistrusted) == exit_code ? Kind::failure
                                                                       : Kind::skipped;
    case fail:
      return Kind::error;
    case skip:
    case xfail:
    case not_run:
    case deferred:
      return Kind::skipped;
    default:
      return Kind::failure;
  }
}

// XML keeps an attribute on one line: line ends are written as they are only in element text.
std::string attribute(const char* name, const std::string& value) {
  return std::string(" ") + name + "=\"" + text::xml(value) + "\"";
}

std::string seconds_text(double seconds) {
  char buffer[48];
  std::snprintf(buffer, sizeof buffer, "%.3f", std::isfinite(seconds) ? seconds : 0.0);
  return buffer;
}

std::string element_text(const std::vector<std::string>& lines) {
  std::string out;
  for (const std::string& line : lines) out += text::xml(line) + "\n";
  return out;
}

struct Counts {
  std::int64_t tests = 0, failures = 0, errors = 0, skipped = 0;
  double seconds = 0;

  void add(Kind kind) {
    ++tests;
    failures += kind == Kind::failure;
    errors += kind == Kind::error;
    skipped += kind == Kind::skipped;
  }
  /// `of_suite`: the element around all suites counts no skipped tests.
  [[nodiscard]] std::string attributes(bool of_suite) const {
    return attribute("tests", std::to_string(tests)) +
           attribute("failures", std::to_string(failures)) +
           attribute("errors", std::to_string(errors)) +
           (of_suite ? attribute("skipped", std::to_string(skipped)) : std::string()) +
           attribute("time", seconds_text(seconds));
  }
};

// The one case for a verdict with its message and, when it is bad, its lines.
std::string case_xml(const std::string& opening, Kind kind, const std::string& type,
                     const std::string& title, const std::string& reason,
                     const std::vector<std::string>& lines) {
  std::string message = title;
  if (!reason.empty()) message += ": " + reason;
  switch (kind) {
    case Kind::passed:
      if (reason.empty()) return opening + "/>\n";
      return opening + ">\n      <system-out>" + text::xml(reason) +
             "</system-out>\n    </testcase>\n";
    case Kind::skipped:
      return opening + ">\n      <skipped" + attribute("message", message) +
             "/>\n    </testcase>\n";
    default:
      break;
  }
  const std::string element = kind == Kind::error ? "error" : "failure";
  return opening + ">\n      <" + element + attribute("type", type) +
         attribute("message", message) + ">" + element_text(lines) + "</" + element +
         ">\n    </testcase>\n";
}

std::string cell_xml(const Report& report, const ReportCell& cell) {
  std::vector<std::string> lines = divergence_lines(cell.divergence);
  if (!cell.repro.empty()) lines.push_back("repro: " + cell.repro);
  std::string reason = cell.reason;
  if (const std::string origin = origin_text(cell); !origin.empty()) {
    reason += (reason.empty() ? "" : "; ") + origin;
  }
  return case_xml("    <testcase" + attribute("classname", report.scenario) +
                      attribute("name", cell_text(cell)) +
                      attribute("time", seconds_text(cell.seconds)),
                  kind_of(cell.verdict, report.exit_code), name_of(cell.verdict),
                  verdict_text(cell.verdict, cell.severity), reason, lines);
}

std::string group_xml(const Report& report, const GroupResult& group) {
  constexpr std::size_t kLetters = 80;
  std::vector<std::string> lines = {measured_text(group, report)};
  for (const std::string& line : picture_lines(group, report, kLetters)) lines.push_back(line);
  for (const std::string& pair : equal_pair_lines(group, report)) lines.push_back("equal: " + pair);
  const std::string name = group.rule + (group.key.empty() ? "" : " [" + group.key + "]");
  return case_xml("    <testcase" + attribute("classname", report.scenario + ".contract") +
                      attribute("name", name) + attribute("time", "0.000"),
                  kind_of(group.judgement.verdict, report.exit_code),
                  name_of(group.judgement.verdict), name_of(group.judgement.verdict),
                  group.judgement.reason, lines);
}

/// What is red although no cell and no group is: golden blocks that nobody asks for, an expired
/// expectation, another environment, cells that were not run, a scenario that cannot be read.
std::string run_xml(const Report& report) {
  const std::string code = "exit code " + std::to_string(report.exit_code);
  std::vector<std::string> lines = {counts_text(report)};
  lines.insert(lines.end(), report.notes.begin(), report.notes.end());
  return case_xml("    <testcase" + attribute("classname", report.scenario) +
                      attribute("name", "run") + attribute("time", "0.000"),
                  Kind::failure, code, outcome_text(report), code, lines);
}

std::string property_xml(const std::string& name, const std::string& value) {
  return "      <property" + attribute("name", name) + attribute("value", value) + "/>\n";
}

std::string suite_xml(const Report& report, Counts& all) {
  Counts counts;
  counts.seconds = report.seconds;
  const int code = report.exit_code;
  for (const ReportCell& cell : report.cells) counts.add(kind_of(cell.verdict, code));
  for (const GroupResult& group : report.groups) {
    counts.add(kind_of(group.judgement.verdict, code));
  }
  const bool unsaid =
      code != kExitOk && code != kExitSkipped && counts.failures == 0 && counts.errors == 0;
  if (unsaid) counts.add(Kind::failure);
  all.tests += counts.tests;
  all.failures += counts.failures;
  all.errors += counts.errors;
  all.skipped += counts.skipped;
  all.seconds += counts.seconds;

  std::string out = "  <testsuite" + attribute("name", report.scenario) + counts.attributes(true) +
                    ">\n    <properties>\n";
  out += property_xml("run", std::to_string(report.run));
  out += property_xml("path", report.path);
  out += property_xml("command", report.command);
  out += property_xml("exit_code", std::to_string(report.exit_code));
  for (const auto& [key, value] : report.environment) {
    out += property_xml("environment." + key, value);
  }
  out += "    </properties>\n";
  if (unsaid) out += run_xml(report);
  for (const GroupResult& group : report.groups) out += group_xml(report, group);
  for (const ReportCell& cell : report.cells) out += cell_xml(report, cell);
  std::vector<std::string> lines = {totals_text(report), counts_text(report)};
  if (const std::string agreement = agreement_text(report); !agreement.empty()) {
    lines.push_back(agreement);
  }
  for (const std::string& note : report.notes) lines.push_back("note: " + note);
  return out + "    <system-out>" + element_text(lines) + "</system-out>\n  </testsuite>\n";
}

}  // namespace

std::string render_junit(const std::vector<Report>& reports) {
  Counts all;
  std::string suites;
  for (const Report& report : reports) suites += suite_xml(report, all);
  return "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"isobit\"" +
         all.attributes(false) + ">\n" + suites + "</testsuites>\n";
}

}  // namespace isobit
