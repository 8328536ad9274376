// One step's inputs on the GPU, and the graphs of steps that were seen before.
//
// All arrays of a step go over in one copy, to places that depend on the numbers of rows and heads
// alone, so that a captured step reads the next step's. Callers: CudaBackend.
#pragma once

#include <optional>
#include <span>

#include "runtime/backends/cuda/device/device.h"
#include "runtime/backends/cuda/kernels/places.h"
#include "runtime/backends/cuda/step_graphs.h"

namespace isobit::cuda {

class Step {
 public:
  static constexpr std::int64_t kMostRows = 64;  // a step of more is not worth a graph

  /// Sends the inputs. True: the step was replayed and is queued.
  bool begin(const StepInputs& inputs, cudaStream_t stream);
  /// Ends a capture and queues what it holds.
  void end(cudaStream_t stream);
  /// Gives up a capture that failed.
  void abandon(cudaStream_t stream) noexcept;
  [[nodiscard]] bool capturing() const { return capturing_.has_value(); }

  /// Where the current step's array lies on the GPU, or null when it is none of its inputs.
  [[nodiscard]] const void* find(const void* array, std::size_t bytes) const;
  /// The same for the rows of attention; null when they are not the step's.
  [[nodiscard]] const PlacesView* places(std::span<const AttentionRows::Row> rows) const;

 private:
  struct Sent {
    const void* array;
    std::size_t bytes, offset;
  };
  template <class T>
  std::size_t add(std::span<const T> array);
  /// `places`: by window of the layers, as inputs.places.
  void send(const StepInputs& inputs, const std::vector<Places>& places, cudaStream_t stream);

  std::vector<unsigned char> bytes_;
  std::vector<Sent> sent_;  // of the current step; empty outside of one
  struct SentPlaces {
    const AttentionRows::Row* rows;
    PlacesView view;
  };
  std::vector<SentPlaces> places_;  // of the current step; empty outside of one
  PinnedBuffer pinned_;
  Buffer buffer_;
  Event gone_;  // the latest copy has left pinned_
  StepGraphs<Graph> graphs_;
  std::optional<StepKey> capturing_;
};

}  // namespace isobit::cuda
