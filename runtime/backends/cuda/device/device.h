// One GPU as this process sees it: errors as exceptions, memory that grows, what is installed.
//
// Promise: a failed CUDA call throws (std::bad_alloc when memory is short, else BackendError with
// the call and the driver's words); nothing is printed and nothing aborts. Callers: this folder.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "runtime/backend.h"

namespace isobit::cuda {

[[noreturn]] void fail(cudaError_t error, const char* what);
inline void check(cudaError_t error, const char* what) {
  if (error != cudaSuccess) fail(error, what);
}
/// Lets a kernel of this thread's GPU take `bytes` of dynamic shared memory. The limit belongs to
/// the kernel, not to a launch, and ranks are threads: it is raised and never lowered.
void allow_shared(const void* kernel, std::size_t bytes);
/// After a kernel launch.
inline void check_launch(const char* kernel) {
  check(cudaGetLastError(), kernel);
}

/// Device memory. Short memory throws OutOfMemory with the bytes asked for and those left.
void* take_memory(std::size_t bytes);
/// "device cuda: out of memory: 512.0 MiB asked, 37.1 of 81559.0 MiB free".
std::string out_of_memory_text(std::size_t asked, std::size_t free, std::size_t total);

struct GpuInfo {
  int index = 0;
  int count = 0;       // of GPUs
  int capability = 0;  // 90 for 9.0
  int multiprocessors = 0;
  std::size_t shared_limit = 0;  // bytes of shared memory a block may ask for
  std::string name;
  std::string uuid;
  std::string facts;  // memory, ECC, MIG: one line for people
  std::string clock;  // of the multiprocessors, as found
};

/// GPUs that a process here can use, asked once; an Error in one line when there is none. A child
/// process asks (probe.cc): one that has begun with CUDA could not fork workers that use it.
Result<std::vector<GpuInfo>> all_gpus();
/// "driver 580.1, CUDA 13.0 (driver), 13.0 (this build)", empty without a GPU.
std::string driver_facts();
/// The GPU that serves a rank: ranks beyond the last GPU start again at the first.
Result<GpuInfo> gpu_of_rank(int rank);

/// Frees memory of cudaMalloc; every such memory goes this way.
void free_memory(void* memory) noexcept;
/// How often this process has freed device memory. A graph that was made at another epoch may point
/// to memory that is gone.
std::uint64_t memory_epoch();

/// Device memory of one owner, grown on demand; its bytes do not survive growing.
class Buffer {
 public:
  Buffer() = default;
  ~Buffer();
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  /// REQUIRES: the owner's GPU is this thread's. Waits for the stream before it frees.
  void* reserve(std::size_t bytes, cudaStream_t stream);
  [[nodiscard]] void* get() const { return data_; }
  [[nodiscard]] std::size_t bytes() const { return bytes_; }

 private:
  void* data_ = nullptr;
  std::size_t bytes_ = 0;
};

/// Host memory that copies are queued from or to; its bytes do not survive growing.
class PinnedBuffer {
 public:
  PinnedBuffer() = default;
  ~PinnedBuffer();
  PinnedBuffer(const PinnedBuffer&) = delete;
  PinnedBuffer& operator=(const PinnedBuffer&) = delete;
  /// REQUIRES: no queued copy still uses it.
  unsigned char* reserve(std::size_t bytes);
  [[nodiscard]] unsigned char* get() const { return data_; }

 private:
  unsigned char* data_ = nullptr;
  std::size_t bytes_ = 0;
};

/// A place in a stream that can be waited for. Made on first use.
class Event {
 public:
  Event() = default;
  ~Event();
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  void record(cudaStream_t stream);
  void wait() const;  // at once when it was never recorded
  /// Seconds of the GPU's clock since `earlier`. REQUIRES: both were recorded, this one waited for.
  [[nodiscard]] double seconds_since(const Event& earlier) const;

 private:
  cudaEvent_t event_ = nullptr;
};

/// Streams that leave a stream and come back to it: work between fork() and join() may overlap.
class Branches {
 public:
  Branches() = default;
  ~Branches();
  Branches(const Branches&) = delete;
  Branches& operator=(const Branches&) = delete;
  /// Makes what fork() needs: nothing is made while a stream is captured.
  void prepare(std::size_t count);
  /// REQUIRES: prepare() was called with as many.
  void fork(cudaStream_t from, std::size_t count);
  /// 0: `from` itself, then the branches.
  [[nodiscard]] cudaStream_t stream(cudaStream_t from, std::size_t index) const {
    return index == 0 ? from : streams_[index - 1];
  }
  void join(cudaStream_t to);

 private:
  std::vector<cudaStream_t> streams_;
  std::vector<cudaEvent_t> events_;  // the fork's, then the end of every branch
  std::size_t live_ = 0;
};

/// Queued work that can be queued again. Move-only.
class Graph {
 public:
  explicit Graph(cudaGraph_t graph);  // which is destroyed here
  ~Graph();
  Graph(Graph&& other) noexcept : exec_(std::exchange(other.exec_, nullptr)) {}
  Graph& operator=(Graph&& other) noexcept {
    std::swap(exec_, other.exec_);
    return *this;
  }
  void launch(cudaStream_t stream) const;

 private:
  cudaGraphExec_t exec_ = nullptr;
};

}  // namespace isobit::cuda
