// How ranks that queue work on devices of their own agree, on the host, that all have come so far.
//
// Why: a collective that only some ranks have queued never ends on their devices, and a CUDA call
// of one thread can wait for it while another thread waits for that call. So no rank queues before
// all have arrived, and none goes on before all have queued. Callers: nccl.cc, ranks.cc.
#pragma once

#include <memory>

#include "runtime/parallel/communicator.h"

namespace isobit {

class Rendezvous {
 public:
  virtual ~Rendezvous() = default;
  /// Waits for every rank. Throws RankFailure once one of them has failed.
  virtual void arrive(int rank) = 0;
  /// The same after the collective was queued, where ranks share a process.
  virtual void depart(int rank) = 0;
  /// This rank does not come any more: whoever waits for it, or will, throws.
  virtual void fail(int rank) = 0;
};

/// Of threads of one process: a barrier that spins for some microseconds, then sleeps.
std::shared_ptr<Rendezvous> make_thread_rendezvous(int ranks);

}  // namespace isobit
