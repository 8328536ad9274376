// The processes of one mpirun as ranks, one rank a process; without MPI's header.
//
// Promise: every process calls the same functions in the same order. Waiting costs little of a
// core. The plain program has no world; isobit-mpi makes one (mpi_world.cc). Callers: main.cc,
// harness/execute/distributed.cc, runtime/run/ranks.cc.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "runtime/parallel/communicator.h"
#include "runtime/parallel/rendezvous.h"

namespace isobit {

class World {
 public:
  virtual ~World() = default;
  [[nodiscard]] virtual int rank() const = 0;
  [[nodiscard]] virtual int size() const = 0;
  [[nodiscard]] virtual int local_rank() const = 0;  // among the processes of this host
  [[nodiscard]] virtual int local_size() const = 0;
  [[nodiscard]] virtual std::string host() const = 0;
  [[nodiscard]] virtual std::string library() const = 0;  // "Open MPI 4.1.4"
  /// Every process's text, by rank, on every process.
  virtual std::vector<std::string> exchange(const std::string& mine) = 0;
  /// For one run of all processes; moves bytes of the host. `shares`: processes share a device.
  virtual std::unique_ptr<Communicator> communicator(bool shares) = 0;
  /// For one run of all processes whose bytes another library moves.
  virtual std::shared_ptr<Rendezvous> rendezvous() = 0;
};

/// The process's world, null in the plain program and in a run of one process.
World* world();
void set_world(World* world);

}  // namespace isobit
