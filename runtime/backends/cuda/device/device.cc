// What is asked of the CUDA runtime outside of kernels.

#include "runtime/backends/cuda/device/device.h"

#include <algorithm>
#include <atomic>
#include <map>
#include <mutex>
#include <string>
#include <utility>

#include "runtime/backends/cuda/engine.h"
#include "runtime/base/text.h"

namespace isobit::cuda {
namespace {

std::atomic<std::uint64_t> epoch{0};

/// What this process holds of take_memory(), on all GPUs together.
class Held {
 public:
  void add(void* memory, std::size_t bytes) {
    const std::lock_guard lock(mutex_);
    sizes_[memory] += bytes;  // a CUDA address names one memory on all GPUs of a process
    now_ += std::int64_t(bytes);
    most_ = std::max(most_, now_);
  }
  void remove(void* memory) {
    const std::lock_guard lock(mutex_);
    const auto at = sizes_.find(memory);
    if (at == sizes_.end()) return;
    now_ -= std::int64_t(at->second);
    sizes_.erase(at);
  }
  std::int64_t most(bool restart) {
    const std::lock_guard lock(mutex_);
    return restart ? std::exchange(most_, now_) : most_;
  }

 private:
  std::mutex mutex_;
  std::map<void*, std::size_t> sizes_;
  std::int64_t now_ = 0, most_ = 0;
};

Held& held() {
  static Held* const once = new Held;  // outlives every owner of device memory
  return *once;
}

}  // namespace

std::int64_t most_device_memory(bool restart) {
  return held().most(restart);
}

void free_memory(void* memory) noexcept {
  held().remove(memory);
  epoch.fetch_add(1, std::memory_order_relaxed);
  cudaFree(memory);  // a failure that matters shows at the next kernel
}

std::uint64_t memory_epoch() {
  return epoch.load(std::memory_order_relaxed);
}

void allow_shared(const void* kernel, std::size_t bytes) {
  static std::mutex mutex;
  static std::map<std::pair<int, const void*>, std::size_t> allowed;
  int gpu = 0;
  check(cudaGetDevice(&gpu), "cudaGetDevice");
  const std::lock_guard lock(mutex);
  std::size_t& most = allowed[{gpu, kernel}];
  if (bytes <= most) return;
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, int(bytes)),
        "cudaFuncSetAttribute");
  most = bytes;
}

void fail(cudaError_t error, const char* what) {
  cudaGetLastError();  // when it is not sticky, the next call starts clean
  if (error == cudaErrorMemoryAllocation) {
    throw OutOfMemory(std::string("device cuda: out of memory in ") + what);
  }
  throw BackendError(std::string("CUDA: ") + what + ": " + cudaGetErrorString(error));
}

std::string out_of_memory_text(std::size_t asked, std::size_t free, std::size_t total) {
  return "device cuda: out of memory: " + text::mebibytes(asked) + " MiB asked, " +
         text::mebibytes(free) + " of " + text::mebibytes(total) + " MiB free";
}

void* take_memory(std::size_t bytes) {
  void* memory = nullptr;
  const cudaError_t error = cudaMalloc(&memory, bytes);
  if (error == cudaSuccess) {
    held().add(memory, bytes);
    return memory;
  }
  if (error != cudaErrorMemoryAllocation) fail(error, "cudaMalloc");
  cudaGetLastError();  // not sticky: the next call starts clean
  std::size_t free = 0, total = 0;
  if (cudaMemGetInfo(&free, &total) != cudaSuccess) cudaGetLastError();
  throw OutOfMemory(out_of_memory_text(bytes, free, total));
}

Buffer::~Buffer() {
  if (data_ != nullptr) free_memory(data_);
}

void* Buffer::reserve(std::size_t bytes, cudaStream_t stream) {
  if (bytes <= bytes_) return data_;
  if (data_ != nullptr) {
    check(cudaStreamSynchronize(stream), "cudaStreamSynchronize");
    free_memory(data_);
    data_ = nullptr;
    bytes_ = 0;
  }
  const std::size_t size = (bytes + 255) / 256 * 256;
  data_ = take_memory(size);
  bytes_ = size;
  return data_;
}

PinnedBuffer::~PinnedBuffer() {
  if (data_ != nullptr) cudaFreeHost(data_);
}

unsigned char* PinnedBuffer::reserve(std::size_t bytes) {
  if (bytes <= bytes_) return data_;
  if (data_ != nullptr) cudaFreeHost(data_);
  data_ = nullptr;
  bytes_ = 0;
  const std::size_t size = std::max<std::size_t>(4096, 2 * bytes);
  void* memory = nullptr;
  check(cudaMallocHost(&memory, size), "cudaMallocHost");
  data_ = static_cast<unsigned char*>(memory);
  bytes_ = size;
  return data_;
}

Event::~Event() {
  if (event_ != nullptr) cudaEventDestroy(event_);
}

void Event::record(cudaStream_t stream) {
  if (event_ == nullptr) check(cudaEventCreate(&event_), "cudaEventCreate");
  check(cudaEventRecord(event_, stream), "cudaEventRecord");
}

void Event::wait() const {
  if (event_ != nullptr) check(cudaEventSynchronize(event_), "cudaEventSynchronize");
}

double Event::seconds_since(const Event& earlier) const {
  float milliseconds = 0;
  check(cudaEventElapsedTime(&milliseconds, earlier.event_, event_), "cudaEventElapsedTime");
  return double(milliseconds) * 1e-3;
}

Branches::~Branches() {
  for (cudaEvent_t event : events_) cudaEventDestroy(event);
  for (cudaStream_t stream : streams_) cudaStreamDestroy(stream);
}

void Branches::prepare(std::size_t count) {
  while (streams_.size() < count) {
    cudaStream_t stream = nullptr;
    check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreate");
    streams_.push_back(stream);
  }
  while (events_.size() < count + 1) {
    cudaEvent_t event = nullptr;
    check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "cudaEventCreate");
    events_.push_back(event);
  }
}

void Branches::fork(cudaStream_t from, std::size_t count) {
  ISOBIT_CHECK(count <= streams_.size());
  check(cudaEventRecord(events_[0], from), "cudaEventRecord");
  for (std::size_t i = 0; i < count; ++i) {
    check(cudaStreamWaitEvent(streams_[i], events_[0], 0), "cudaStreamWaitEvent");
  }
  live_ = count;
}

void Branches::join(cudaStream_t to) {
  for (std::size_t i = 0; i < live_; ++i) {
    check(cudaEventRecord(events_[i + 1], streams_[i]), "cudaEventRecord");
    check(cudaStreamWaitEvent(to, events_[i + 1], 0), "cudaStreamWaitEvent");
  }
  live_ = 0;
}

Graph::Graph(cudaGraph_t graph) {
  const cudaError_t error = cudaGraphInstantiate(&exec_, graph, 0);
  cudaGraphDestroy(graph);
  check(error, "cudaGraphInstantiate");
}

Graph::~Graph() {
  if (exec_ != nullptr) cudaGraphExecDestroy(exec_);
}

void Graph::launch(cudaStream_t stream) const {
  check(cudaGraphLaunch(exec_, stream), "cudaGraphLaunch");
}

}  // namespace isobit::cuda
