// What a report says of the whole run: totals, verdicts by number, what agreement can have missed
// (describe.h).
#include <algorithm>
#include <cstdio>

#include "reports/describe.h"
#include "runtime/base/text.h"

namespace isobit {

std::string origin_text(const ReportCell& cell) {
  return cell.imported.empty() ? "" : "imported from " + cell.imported;
}

std::string totals_text(const Report& report) {
  return text::count(std::int64_t(report.groups.size()), "group") + ", " +
         text::count(std::int64_t(report.cells.size()), "cell") + " (" +
         text::count(report.cells_executed) + " executed, " + text::count(report.cells_cached) +
         " cached" +
         (report.cells_imported > 0 ? ", " + text::count(report.cells_imported) + " imported"
                                    : std::string()) +
         "), " + text::count(report.tokens_compared, of_operation(report) ? "row" : "token") +
         " compared, " + text::duration(report.seconds);
}

std::string counts_text(const Report& report) {
  std::string out = text::count(std::int64_t(report.cells.size()), "cell") + ": ";
  for (int i = 0; i < kVerdicts; ++i) {
    const std::int64_t count = report.counts[std::size_t(i)];
    const auto verdict = Verdict(i);
    if (verdict != Verdict::pass && (count == 0 || verdict == Verdict::obsolete)) continue;
    out += (verdict == Verdict::pass ? "" : ", ") + text::count(count) + " " + name_of(verdict);
  }
  const std::int64_t obsolete = report.counts[std::size_t(Verdict::obsolete)];
  if (obsolete == 0) return out;
  return out + "; " + text::count(obsolete) + " OBSOLETE golden " +
         (obsolete == 1 ? "block" : "blocks");
}

std::string seen_text(std::int64_t executions) {
  char percent[32];
  std::snprintf(percent, sizeof percent, "%.3g", 100 * seen_fault_rate(executions));
  return std::string("a fault in more than ") + percent +
         " % of executions would have been seen (95 %)";
}

namespace {

/// Without what was scored and held against nothing row by row.
std::int64_t rows_compared(const Report& report) {
  std::int64_t rows = report.tokens_compared;
  for (const GroupResult& group : report.groups) {
    if (of_scores(group)) rows -= group.compared_tokens;
  }
  return rows;
}

/// Executions of the cell that has fewest; 0: nothing was compared, or executions disagree.
std::int64_t agreeing_executions(const Report& report) {
  if (rows_compared(report) == 0) return 0;
  std::int64_t fewest = 0;
  for (const ReportCell& cell : report.cells) {
    if (cell.verdict == Verdict::nondet) return 0;
    if (cell.executions == 0) continue;
    fewest = fewest == 0 ? cell.executions : std::min(fewest, cell.executions);
  }
  return fewest;
}

/// Ranks that are processes compute every execution of a run: together that is one lifetime.
bool in_same_processes(const Report& report) {
  return report.environment.count("mpi") != 0;
}

bool anything_differs(const Report& report) {
  return std::any_of(report.cells.begin(), report.cells.end(),
                     [](const ReportCell& cell) { return cell.divergence.present; }) ||
         std::any_of(report.groups.begin(), report.groups.end(),
                     [](const GroupResult& group) { return group.differing > 0; });
}

}  // namespace

std::int64_t independent_executions(const Report& report) {
  const std::int64_t executions = agreeing_executions(report);
  return in_same_processes(report) ? std::min<std::int64_t>(executions, 1) : executions;
}

std::string agreement_text(const Report& report) {
  const std::int64_t executions = agreeing_executions(report);
  if (executions == 0) return "";
  std::string out;
  if (!anything_differs(report)) {
    out = "0 of " + text::count(rows_compared(report), "row") + " differ; ";
  }
  if (executions == 1) {
    out += "each cell was executed once: ";
  } else {
    out += text::count(executions, "execution") + " of each cell agree" +
           (in_same_processes(report) ? ", all in the same processes: " : ": ");
  }
  return out + seen_text(independent_executions(report));
}

std::string outcome_text(const Report& report) {
  switch (report.exit_code) {
    case kExitOk:
      return "PASS";
    case kExitDifferent:
      return "RED";
    case kExitUsage:
      return "USAGE";
    case kExitInternal:
      return "INTERNAL ERROR";
    case kExitNothing:
      return "NOTHING COMPARED";
    case kExitGolden:
      return "GOLDENS MISSING OR STALE";
    case kExitEnvironment:
      return "ENVIRONMENT MISMATCH";
    case kExitMistrusted:
      return "MISTRUSTED";
    case kExitNotRun:
      return "NOT ALL RUN";
    case kExitSkipped:
      return "ALL SKIPPED";
    case kExitInterrupted:
      return "INTERRUPTED";
    default:
      return "EXIT " + std::to_string(report.exit_code);
  }
}

}  // namespace isobit
