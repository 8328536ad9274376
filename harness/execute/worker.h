// One job in this process: what a worker of the pool does, and a process under mpirun.
#pragma once

#include <memory>

#include "harness/execute/executor.h"
#include "runtime/parallel/world.h"
#include "runtime/run/operation_engine.h"

namespace isobit {

/// The reference runtime of one model at a time: when another model is asked for, the packed
/// weights of the one before are gone.
class ModelRuntime {
 public:
  /// REQUIRES: the model outlives the object.
  Runtime& of(const ModelSession& model);

 private:
  const ModelSession* model_ = nullptr;
  std::unique_ptr<Runtime> runtime_;
};

/// Computes cells of one session, by the reference runtime or by an engine of its own.
class CellRunner {
 public:
  /// REQUIRES: all references outlive the object. `runtime` may hold packed weights already.
  CellRunner(const Scenario& scenario, const Session& session, ModelRuntime& runtime,
             const ExecuteHooks* hooks)
      : scenario_(scenario), session_(session), runtime_(runtime), hooks_(hooks) {}

  /// `across`: the processes that are the cell's ranks, or null.
  JobResult run(const Job& job, World* across);

 private:
  Engine& engine_of(const ModelSession& model, const GenerateRequest& request);
  Result<GenerateResult> generate(const ModelSession& model, const GenerateRequest& request);

  const Scenario& scenario_;
  const Session& session_;
  ModelRuntime& runtime_;
  const ExecuteHooks* hooks_;
  OperationEngine operations_;  // where a cell is one operation
  const ModelSession* whole_model_ = nullptr;
  std::string whole_name_;
  std::unique_ptr<Engine> whole_;  // the last engine that is no backend
};

}  // namespace isobit
