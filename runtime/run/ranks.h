// Which communicator the ranks of a cell get, and what of the machine decides it.
//
// Ranks are threads of this process that share a GPU or the CPU (virtual), threads with a GPU each
// and NCCL between them, or the processes of an mpirun. What is planned is what runs: when NCCL
// fails, so does the cell. Callers: generate.cc, session.cc, environment.cc, the doctor.
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "runtime/backends/registry.h"
#include "runtime/parallel/communicator.h"
#include "runtime/parallel/nccl.h"
#include "runtime/parallel/world.h"

namespace isobit {

struct GenerateRequest;

/// The rule: device cuda with a usable GPU a rank and NCCL is real; everything else in one process
/// is virtual, and this says why.
std::string why_virtual(const BackendOptions& options, int ranks);
/// The GPUs ("GPU-uuid") that `count` ranks or replicas of one process compute on, each once; empty
/// on the CPU and where there is none.
std::vector<std::string> gpus_of(const BackendOptions& options, int count);
/// Identity of what moves bytes between real ranks, for the keys of stored results; "" for none.
std::string transport_identity(const BackendOptions& options, int ranks);
/// For the doctor: "nccl 2.28.9, 2 GPUs: gpus: 2 is real, 4 and 8 are virtual", or what is missing.
std::string rank_status();
/// Entries for the environment's fingerprint: mpi, nccl, nccl.nvls, lib.libnccl…,
/// gpu.peers.
std::map<std::string, std::string> rank_environment();

/// The ranks that this process computes for a request, in order.
std::vector<int> ranks_here(const GenerateRequest& request);
/// The GPU, counted from 0, that a rank of this process uses.
int device_of_rank(const GenerateRequest& request, int rank);
/// Lets all processes of the request know of an error on one; without a world the error as it is.
Result<void> agree(const GenerateRequest& request, const Result<void>& mine);

/// A number that each process of the request has a part of.
std::int64_t sum_over_processes(const GenerateRequest& request, std::int64_t mine);

/// Communicators of the ranks here, ready to run; NCCL's groups are kept from cell to cell.
class RankGroups {
 public:
  using Backends = std::span<const std::unique_ptr<Backend>>;
  Result<std::vector<std::unique_ptr<Communicator>>> join(const GenerateRequest& request,
                                                          Backends backends);

 private:
  Result<std::vector<std::unique_ptr<Communicator>>> join_nccl(const GenerateRequest& request,
                                                               Backends backends);
  Result<std::vector<std::unique_ptr<Communicator>>> join_processes(const GenerateRequest& request,
                                                                    Backend& backend);
  std::map<int, std::shared_ptr<NcclGroup>> groups_;  // by ranks; negative: one a process
};

/// Calls body(r) for each of `ranks`, the first on this thread and every other on one of its own;
/// returns when all have ended. Error: a thread could not be started. Then the ranks that run
/// already are woken as by a rank that failed, and body(0) is not called.
Result<void> run_on_threads(std::span<const std::unique_ptr<Communicator>> ranks,
                            const std::function<void(std::size_t)>& body);

}  // namespace isobit
