// Cell -> CellTrace, in worker processes (architecture.md, decision 10).
//
// A worker is a fork of this process; it serves one (model, engine, precision, device) and runs
// many cells on shared packed weights. A crash or a time-out kills the worker, fails that cell, and
// a new one goes on. The parent never computes; it packs what several CPU workers will share.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "harness/execute/session.h"

namespace isobit {

/// One execution of one cell.
struct Job {
  int id = 0;  // the caller's
  int attempt = 1;
  const Cell* cell = nullptr;
  std::vector<std::vector<std::int32_t>> teacher;     // by prompt, or empty
  std::vector<std::pair<int, std::int64_t>> capture;  // rows wanted by value
  std::string spill;                                  // file for every logits row, or empty
  bool values = false;                                // the scenario's inner rows go there too
};

struct JobResult {
  int id = 0;
  int attempt = 1;
  CellTrace trace;
  std::map<std::pair<int, std::int64_t>, RowValues> captured;
};

/// Who changes a cell on its way: the selftest's defects. Both run in the worker.
struct ExecuteHooks {
  std::function<void(const Cell&, GenerateRequest&)> request;
  std::function<void(const Cell&, CellTrace&)> trace;  // after the engine made it
};

struct ExecutorOptions {
  int jobs = 1;          // workers at once
  bool isolate = false;  // one cell a worker
  double cell_seconds = 600;
  const ExecuteHooks* hooks = nullptr;
};

/// Runs all jobs; `done` is called in the parent as each ends, in any order, and returns false to
/// stop. Gives false when stopped early (by `done` or by an interrupt).
Result<bool> execute(const Scenario& scenario, const Session& session, const std::vector<Job>& jobs,
                     const ExecutorOptions& options, const std::function<bool(JobResult&&)>& done);

}  // namespace isobit
