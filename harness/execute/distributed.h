// The executor under mpirun: process 0 is the harness, the others follow it (isobit-mpi).
//
// A cell whose `gpus` is the number of processes runs across them, one rank a process; every other
// cell runs in process 0. Nothing is forked. Callers: executor.cc, main.cc.
#pragma once

#include "harness/execute/executor.h"
#include "runtime/parallel/world.h"

namespace isobit {

/// execute() of process 0.
Result<bool> execute_distributed(World& world, const Scenario& scenario, const Session& session,
                                 const std::vector<Job>& jobs, const ExecutorOptions& options,
                                 const std::function<bool(JobResult&&)>& done);

/// The life of every other process: does what process 0 says until it says that all is done.
void follow(World& world);
/// Process 0's last word.
void dismiss(World& world);

}  // namespace isobit
