// At most a few cells: an explanation of a red run must not double its time.
#include "harness/explain/distances.h"

#include <algorithm>

namespace isobit {
namespace {

constexpr int kMostMeasured = 8;  // cells whose first difference is recomputed by value

/// Whether the cell's rows can be had by value.
bool has_values(const Traces& traces, int cell) {
  const JudgeCell& ran = traces.cells[std::size_t(cell)];
  return ran.has_trace() && ran.attempts.front().observed.evidence == name_of(Evidence::logits);
}

std::vector<int> cells_to_measure(const Judged& judged, const Traces& traces) {
  std::vector<int> cells;
  for (std::size_t i = 0; i < judged.cells.size(); ++i) {
    const CellResult& cell = judged.cells[i];
    const bool wanted = cell.judgement.verdict == Verdict::diff && cell.against >= 0 &&
                        cell.first.prompt >= 0 && cell.first.what != "prompt missing" &&
                        has_values(traces, int(i)) && has_values(traces, cell.against);
    if (wanted && int(cells.size()) < kMostMeasured) cells.push_back(int(i));
  }
  return cells;
}

RowDistance distance_of(const RowValues& a, const RowValues& b, bool wide) {
  if (wide) return row_distance(std::span<const double>(a), std::span<const double>(b));
  const std::vector<float> x(a.begin(), a.end()), y(b.begin(), b.end());
  return row_distance(std::span<const float>(x), std::span<const float>(y));
}

}  // namespace

Result<void> measure_differences(const Loaded& loaded, const Plan& plan, Traces& traces,
                                 const ExecutorOptions& options, Judged& judged) {
  const std::vector<int> cells = cells_to_measure(judged, traces);
  if (cells.empty()) return {};
  std::vector<const Cell*> taught;
  std::vector<Job> jobs;
  for (const int i : cells) {
    const CellResult& result = judged.cells[std::size_t(i)];
    for (const bool base : {true, false}) {
      Job job;
      job.id = 2 * i + (base ? 0 : 1);
      job.cell = &plan.matrix.cells[std::size_t(base ? result.against : i)];
      job.capture = {{result.first.prompt, result.first.position}};
      taught.push_back(job.cell);
      jobs.push_back(std::move(job));
    }
  }
  auto ready = traces.teachers.prepare(loaded.scenario, loaded.session, taught, options);
  ISOBIT_TRY(ready);
  for (Job& job : jobs) job.teacher = traces.teachers.of(*job.cell);
  std::map<int, RowValues> rows;
  auto all = execute(loaded.scenario, loaded.session, jobs, options, [&](JobResult&& r) {
    if (!r.captured.empty()) rows[r.id] = std::move(r.captured.begin()->second);
    return true;
  });
  ISOBIT_TRY(all);
  for (const int i : cells) {
    const RowValues &a = rows[2 * i], &b = rows[2 * i + 1];
    if (a.empty() || a.size() != b.size()) continue;
    CellResult& result = judged.cells[std::size_t(i)];
    const bool wide = plan.matrix.cells[std::size_t(i)].value("precision") == "fp64";
    const RowDistance distance = distance_of(a, b, wide);
    if (distance.differing == 0) continue;  // only an inner row differed
    result.difference.has_distance = true;
    result.difference.distance = distance;
    // A row of one operation is no distribution over tokens: nothing in it can flip.
    if (loaded.scenario.operation.kind != OperationKind::none) continue;
    result.judgement.severity = std::max(result.judgement.severity, severity_of(distance));
  }
  return {};
}

}  // namespace isobit
