// Ranks on GPUs of their own, joined by NCCL, which is found and loaded at run time.
//
// Promise: NCCL moves bytes (ncclAllGather, ncclBroadcast) and never adds. A collective is queued
// on the rank's stream; the host waits only for the other ranks' hosts (rendezvous.h). NVLink
// multicast (NVLS) is off: NCCL_NVLS_ENABLE=0 is set before the library is loaded, whatever it was.
// After a failure the group is broken for good. Callers: runtime/run/ranks.cc, tests.
#pragma once

#include <array>
#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "runtime/base/result.h"
#include "runtime/parallel/communicator.h"
#include "runtime/parallel/rendezvous.h"

namespace isobit {

struct NcclLibrary;  // the functions, in nccl.cc

/// What joins the processes or threads of one group; made by one of them, as bytes.
struct NcclId {
  std::array<char, 128> bytes{};
};
Result<NcclId> make_nccl_id(const std::string& file);

class NcclGroup {
 public:
  struct Place {
    int rank = 0;
    std::function<void()> enter;  // makes the rank's GPU this thread's
  };
  /// The ranks of `here`, all or some of `ranks`, join the group; takes about a second, and waits
  /// for the others. `file`: the library, as the loader takes it.
  static Result<std::shared_ptr<NcclGroup>> make(const std::string& file, int ranks,
                                                 const NcclId& id, std::span<const Place> here,
                                                 std::shared_ptr<Rendezvous> rendezvous);
  ~NcclGroup();
  NcclGroup(const NcclGroup&) = delete;
  NcclGroup& operator=(const NcclGroup&) = delete;

  /// One rank's communicator for one run, on this stream. `places`: its GPUs, for the record.
  /// `timed`: collectives are measured by events on the stream, which costs a little.
  /// REQUIRES: the group outlives it; at most one at a time for a rank.
  std::unique_ptr<Communicator> communicator(int rank, void* stream, const std::string& places,
                                             bool timed = false);
  [[nodiscard]] bool broken() const { return broken_; }
  [[nodiscard]] int size() const { return ranks_; }

 private:
  friend class NcclRank;
  NcclGroup(const NcclLibrary& library, int ranks, std::shared_ptr<Rendezvous> rendezvous)
      : library_(library), ranks_(ranks), rendezvous_(std::move(rendezvous)) {}
  void queue(int rank, void* stream, const void* mine, void* all,
             std::span<const std::size_t> sizes);
  void broadcasts(int rank, void* stream, const void* mine, void* all,
                  std::span<const std::size_t> sizes);
  void check(int result, const char* call) const;
  void abort(int rank);

  const NcclLibrary& library_;
  int ranks_;
  std::shared_ptr<Rendezvous> rendezvous_;
  std::map<int, void*> handles_;  // by rank of this process; ncclComm_t
  std::mutex aborting_;
  std::atomic<int> inside_{0};       // ranks that may be using a handle
  std::atomic<bool> broken_{false};  // a rank has failed, here or elsewhere
  bool aborted_ = false;
};

/// "2.28.9" of NCCL's version number.
std::string nccl_version_text(int version);

}  // namespace isobit
