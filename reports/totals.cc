// What a report says of the whole run: totals, verdicts by number, what agreement can have missed
// (describe.h).
#include <algorithm>
#include <cstdio>

#include "reports/describe.h"
#include "runtime/base/text.h"

namespace isobit {

std::string totals_text(const Report& report) {
  return text::count(std::int64_t(report.groups.size()), "group") + ", " +
         text::count(std::int64_t(report.cells.size()), "cell") + " (" +
         text::count(report.cells_executed) + " executed, " + text::count(report.cells_cached) +
         " cached), " + text::count(report.tokens_compared, "token") + " compared, " +
         text::duration(report.seconds);
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

std::string agreement_text(const Report& report) {
  if (report.tokens_compared == 0) return "";
  std::int64_t executions = 0;  // of the cell that has fewest
  bool differs = false;
  for (const ReportCell& cell : report.cells) {
    if (cell.verdict == Verdict::nondet) return "";
    differs |= cell.divergence.present;
    if (cell.executions == 0) continue;
    executions = executions == 0 ? cell.executions : std::min(executions, cell.executions);
  }
  for (const GroupResult& group : report.groups) differs |= group.differing > 0;
  if (executions == 0) return "";
  const std::string rows =
      differs ? "" : "0 of " + text::count(report.tokens_compared, "row") + " differ; ";
  if (executions == 1) return rows + "each cell was executed once: " + seen_text(1);
  const std::string agree = rows + text::count(executions, "execution") + " of each cell";
  // Ranks that are processes compute every attempt: together that is one lifetime.
  if (report.environment.count("mpi") != 0) {
    return agree + " agree, all in the same processes: " + seen_text(1);
  }
  return agree + " agree: " + seen_text(executions);
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
