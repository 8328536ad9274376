// Inputs first, in one copy; then the step is run, captured or replayed.

#include "runtime/backends/cuda/step.h"

#include <algorithm>
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

void Step::send(const StepInputs& inputs, const std::vector<Places>& places, cudaStream_t stream) {
  bytes_.clear();
  sent_.clear();
  add(inputs.ids);
  add(inputs.wanted);
  add(inputs.positions);
  add(inputs.slots);
  const std::size_t inputs_end = sent_.size();
  std::vector<std::size_t> rows;
  for (const Places& each : places) rows.push_back(add(std::span<const QueryRow>(each.rows)));
  // Heads and page tables are those of every window. The tables grow, so they come last.
  const std::size_t heads = add(std::span<const std::int32_t>(places.front().head_begin));
  const std::size_t tables = add(std::span<const std::int32_t>(places.front().tables));
  sent_.resize(inputs_end);  // the rest is found through places()
  gone_.wait();
  std::memcpy(pinned_.reserve(bytes_.size()), bytes_.data(), bytes_.size());
  // Twice the need: when it grows, every graph is made anew.
  if (buffer_.bytes() < bytes_.size()) buffer_.reserve(2 * bytes_.size() + 65536, stream);
  auto* base = static_cast<unsigned char*>(buffer_.get());
  check(cudaMemcpyAsync(base, pinned_.get(), bytes_.size(), cudaMemcpyHostToDevice, stream),
        "upload of a step's inputs");
  gone_.record(stream);
  places_.clear();
  for (std::size_t i = 0; i < places.size(); ++i) {
    PlacesView view;
    view.rows = reinterpret_cast<const QueryRow*>(base + rows[i]);
    view.head_begin = reinterpret_cast<const std::int32_t*>(base + heads);
    view.tables = reinterpret_cast<const std::int32_t*>(base + tables);
    view.keeps = base;  // no row of a step's inputs has a mask
    view.max_splits = places[i].max_splits;
    places_.push_back({inputs.places[i].data(), view});
  }
}

bool Step::begin(const StepInputs& inputs, cudaStream_t stream) {
  ISOBIT_CHECK(!capturing_ && inputs.attention != nullptr && !inputs.places.empty());
  std::vector<Places> places;
  std::int32_t splits = 1;
  AttentionRows attention = *inputs.attention;
  for (const auto& of_window : inputs.places) {
    attention.rows = of_window;
    places.push_back(places_of(attention));
    ISOBIT_CHECK(places.back().keeps.empty());
    splits = std::max(splits, places.back().max_splits);
  }
  const auto rows = std::int64_t(inputs.ids.size());
  const bool repeatable = inputs.repeatable && rows <= kMostRows;
  if (repeatable) {  // one room for the splits of every window, so that the key has one number
    splits = split_bucket(splits);
    for (Places& each : places) each.max_splits = splits;
  }
  send(inputs, places, stream);
  if (!repeatable) return false;
  const StepKey key{inputs.owner, rows, {inputs.wanted.begin(), inputs.wanted.end()}, splits};
  using Action = StepGraphs<Graph>::Action;
  const Action action = graphs_.next(key, memory_epoch());
  if (action == Action::replay) {
    sent_.clear();
    places_.clear();
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
  places_.clear();
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
  for (const SentPlaces& each : places_) {
    if (each.rows == rows.data()) return &each.view;
  }
  return nullptr;
}

}  // namespace isobit::cuda
