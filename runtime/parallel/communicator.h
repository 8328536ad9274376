// Moves bytes between the ranks of a tensor-parallel run. Never adds, never compares: reductions
// happen in the backend, in the order of NUMERICS.md.
//
// Every rank calls the same collectives in the same order. Pointers are backend memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace isobit {

struct Traffic {
  std::int64_t collectives = 0;
  std::int64_t bytes_sent = 0;
};

class Communicator {
 public:
  virtual ~Communicator() = default;
  [[nodiscard]] virtual int rank() const = 0;
  [[nodiscard]] virtual int size() const = 0;
  [[nodiscard]] virtual bool is_virtual() const = 0;  // threads that share a device
  /// What moves the bytes, for the observed record: "threads, ring", "nccl 2.28.9, NVLS off".
  [[nodiscard]] virtual std::string transport() const = 0;
  /// all[sum of sizes[0..r)) .. ) = rank r's `sizes[r]` bytes, on every rank.
  virtual void all_gather(const void* mine, void* all, std::span<const std::size_t> sizes) = 0;
  [[nodiscard]] virtual Traffic traffic() const = 0;
  /// Time in collectives, waiting for other ranks included; where a device moves the bytes it is
  /// measured only in a run that asks for it. After finish().
  [[nodiscard]] virtual double seconds() const { return 0; }
  /// This rank failed: wakes everybody up; later collectives throw RankFailure.
  virtual void abort() = 0;
  /// This rank has done its part. Throws RankFailure when another one failed, where the ranks must
  /// know it of each other. Not called by a rank that has failed.
  virtual void finish() {}
};

/// Thrown out of a collective when another rank has failed; caught where ranks are joined.
struct RankFailure {};

/// A group of one; every collective is a copy.
std::unique_ptr<Communicator> make_single_rank();

/// The way of a message between in-process ranks: straight to every rank; from neighbour to
/// neighbour; in pairs at distances 1, 2, 4 (a power of two of ranks, else as tree); to rank 0
/// along a binomial tree and back. The same bytes arrive.
enum class Topology : std::uint8_t { direct, ring, doubling, tree };
const char* name_of(Topology topology);

/// In-process ranks: each owns its communicator, messages are copied bytes in per-rank mailboxes.
/// `arrival_seed` other than 0 shuffles the order in which messages are taken out (tests).
std::vector<std::unique_ptr<Communicator>> make_in_process_ranks(
    int size, std::uint64_t arrival_seed = 0, Topology topology = Topology::direct);

}  // namespace isobit
