// Rounded, sliced weights, kept for as long as cells ask for them again.
//
// One set serves every cell of the same precision, engine, device, number of ranks and change of
// weights, whatever its batch, cache mode or threads. The last few sets stay within a bound on
// memory. Sets hold no threads, so a process that has packed may fork and its children share the
// pages.
// Callers: generate.cc.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "runtime/backends/registry.h"
#include "runtime/checkpoint/weights.h"
#include "runtime/model/rank_model.h"
#include "runtime/numerics/weight_change.h"

namespace isobit {

/// Weights of the ranks that one process computes.
struct PackedSet {
  std::string key;
  std::size_t bytes = 0;                          // estimate
  std::int64_t weight_bytes = 0;                  // that the weights take, counted
  std::vector<std::unique_ptr<Backend>> holders;  // one a rank, own its memory
  std::vector<std::unique_ptr<RankModel>> ranks;

  /// Weights whose bits a change of weights changed.
  [[nodiscard]] std::int64_t changed_weights() const;
  ~PackedSet() { ranks.clear(); }
};

/// What to pack, and which of its ranks live here on which device. A rank that lives here more than
/// once is packed as often: replicas have weights of their own.
struct PackedRequest {
  struct Place {
    int rank = 0;
    int device = 0;
  };
  Precision precision = Precision::fp32;
  BackendOptions backend;  // threads: how many may pack
  int ranks = 1;
  std::vector<Place> here;
  SequenceLengths lengths;
  WeightChange weights;
};

/// Bytes that a set takes in memory, all ranks and replicas together; an estimate.
std::size_t packed_bytes(const LoadedModel& model, const PackedRequest& request);

class PackedCache {
 public:
  /// REQUIRES: `model` outlives the cache.
  explicit PackedCache(const LoadedModel& model) : model_(model) {}

  /// The set, packed now if it is not there; valid until the next call.
  Result<const PackedSet*> get(const PackedRequest& request);
  [[nodiscard]] int packings() const { return packings_; }  // sets made so far

 private:
  Result<std::unique_ptr<PackedSet>> pack(const PackedRequest& request,
                                          const SequenceLengths& lengths);
  void make_room(const PackedRequest& request, std::size_t bytes);

  const LoadedModel& model_;
  std::vector<std::unique_ptr<PackedSet>> sets_;  // the one used last is last
  int packings_ = 0;
};

}  // namespace isobit
