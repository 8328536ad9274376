// Which steps of the forward pass are run, which are captured as a graph, which are replayed.
//
// Promise: a graph is replayed only for a step of the same shape, and only while no device memory
// has been freed since it was made. Pure bookkeeping, no CUDA. Callers: cuda/step.cc and its test.
#pragma once

#include <bit>
#include <compare>
#include <cstdint>
#include <map>
#include <set>
#include <utility>
#include <vector>

namespace isobit::cuda {

/// Everything that decides which kernels a step starts, and with which arguments.
struct StepKey {
  std::uint64_t owner = 0;  // whose arrays it works in
  std::int64_t rows = 0;
  std::vector<std::int32_t> wanted;  // rows whose logits are wanted
  std::int32_t splits = 0;           // most splits of one row that attention has room for
  auto operator<=>(const StepKey&) const = default;
};

/// Room for this many splits: the next power of two, so that a growing context rarely changes it.
inline std::int32_t split_bucket(std::int32_t splits) {
  return std::int32_t(std::bit_ceil(std::uint32_t(splits)));
}

template <class Graph>
class StepGraphs {
 public:
  static constexpr std::size_t kMostGraphs = 32;
  static constexpr std::size_t kMostSeen = 4096;
  enum class Action { run, capture, replay };

  /// The first step of a key is run: memory grows and libraries warm up, which a capture forbids.
  Action next(const StepKey& key, std::uint64_t epoch) {
    if (epoch != epoch_) graphs_.clear();
    epoch_ = epoch;
    if (graphs_.count(key) != 0) return Action::replay;
    if (seen_.size() >= kMostSeen) seen_.clear();
    return seen_.insert(key).second ? Action::run : Action::capture;
  }

  /// REQUIRES: next() said capture for the key.
  const Graph& keep(const StepKey& key, Graph graph) {
    if (graphs_.size() >= kMostGraphs) graphs_.clear();
    return graphs_.emplace(key, std::move(graph)).first->second;
  }
  /// REQUIRES: next() said replay for the key.
  [[nodiscard]] const Graph& at(const StepKey& key) const { return graphs_.at(key); }
  [[nodiscard]] std::size_t size() const { return graphs_.size(); }

 private:
  std::uint64_t epoch_ = 0;
  std::map<StepKey, Graph> graphs_;
  std::set<StepKey> seen_;
};

}  // namespace isobit::cuda
