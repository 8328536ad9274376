// Inputs first, in one copy; then the step is run, captured or replayed.

#include "runtime/backends/cuda/step.h"

#include <cstring>

namespace isobit::cuda {

template <class T>
std::size_t Step::add(std::span<const T> array) {
  const std::size_t at = (bytes_.size() + 15) / 16 * 16;
  bytes_.resize(at + array.size_bytes());
  if (!array.empty()) std::memcpy(bytes_.data() + at, array.data(), array.size_bytes());
  sent_.push_back({array.data(), array.size_bytes(), at});
  return at;
}

void Step::send(const StepInputs& inputs, const Places& places, cudaStream_t stream) {
  bytes_.clear();
  sent_.clear();
  add(inputs.ids);
  add(inputs.wanted);
  add(inputs.positions);
  add(inputs.slots);
  const std::size_t inputs_end = sent_.size();
  const std::size_t rows = add(std::span<const QueryRow>(places.rows));
  const std::size_t heads = add(std::span<const std::int32_t>(places.head_begin));
  const std::size_t tables =
      add(std::span<const std::int32_t>(places.tables));  // the one that grows
  sent_.resize(inputs_end);                               // the rest is found through places()
  gone_.wait();
  std::memcpy(pinned_.reserve(bytes_.size()), bytes_.data(), bytes_.size());
  // Twice the need: when it grows, every graph is made anew.
  if (buffer_.bytes() < bytes_.size()) buffer_.reserve(2 * bytes_.size() + 65536, stream);
  auto* base = static_cast<unsigned char*>(buffer_.get());
  check(cudaMemcpyAsync(base, pinned_.get(), bytes_.size(), cudaMemcpyHostToDevice, stream),
        "upload of a step's inputs");
  gone_.record(stream);
  rows_ = inputs.attention->rows.data();
  places_.rows = reinterpret_cast<const QueryRow*>(base + rows);
  places_.head_begin = reinterpret_cast<const std::int32_t*>(base + heads);
  places_.tables = reinterpret_cast<const std::int32_t*>(base + tables);
  places_.keeps = base;  // no row of a step's inputs has a mask
  places_.max_splits = places.max_splits;
}

bool Step::begin(const StepInputs& inputs, cudaStream_t stream) {
  ISOBIT_CHECK(!capturing_ && inputs.attention != nullptr);
  Places places = places_of(*inputs.attention);
  ISOBIT_CHECK(places.keeps.empty());
  const auto rows = std::int64_t(inputs.ids.size());
  const bool repeatable = inputs.repeatable && rows <= kMostRows;
  if (repeatable) places.max_splits = split_bucket(places.max_splits);
  send(inputs, places, stream);
  if (!repeatable) return false;
  const StepKey key{
      inputs.owner, rows, {inputs.wanted.begin(), inputs.wanted.end()}, places.max_splits};
  using Action = StepGraphs<Graph>::Action;
  const Action action = graphs_.next(key, memory_epoch());
  if (action == Action::replay) {
    sent_.clear();
    rows_ = nullptr;
    graphs_.at(key).launch(stream);
    return true;
  }
  if (action == Action::capture) {
    check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal),
          "cudaStreamBeginCapture");
    capturing_ = key;
  }
  return false;
}

void Step::end(cudaStream_t stream) {
  sent_.clear();
  rows_ = nullptr;
  if (!capturing_) return;
  const StepKey key = *std::exchange(capturing_, std::nullopt);
  cudaGraph_t graph = nullptr;
  check(cudaStreamEndCapture(stream, &graph), "cudaStreamEndCapture");
  graphs_.keep(key, Graph(graph)).launch(stream);
}

void Step::abandon(cudaStream_t stream) noexcept {
  if (!capturing_) return;
  capturing_.reset();
  cudaGraph_t graph = nullptr;
  cudaStreamEndCapture(stream, &graph);
  if (graph != nullptr) cudaGraphDestroy(graph);
  cudaGetLastError();  // the failure was told where it happened
}

const void* Step::find(const void* array, std::size_t bytes) const {
  for (const Sent& sent : sent_) {
    if (sent.array == array && sent.bytes == bytes && bytes > 0) {
      return static_cast<const unsigned char*>(buffer_.get()) + sent.offset;
    }
  }
  return nullptr;
}

const PlacesView* Step::places(std::span<const AttentionRows::Row> rows) const {
  return rows_ != nullptr && rows.data() == rows_ ? &places_ : nullptr;
}

}  // namespace isobit::cuda
