// One GPU as this process sees it: errors as exceptions, memory that grows, what is installed.
//
// Promise: a failed CUDA call throws (std::bad_alloc when memory is short, else BackendError with
// the call and the driver's words); nothing is printed and nothing aborts. Callers: this folder.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <string>
#include <vector>

#include "runtime/backend.h"

namespace invar::cuda {

[[noreturn]] void fail(cudaError_t error, const char* what);
inline void check(cudaError_t error, const char* what) {
  if (error != cudaSuccess) fail(error, what);
}
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

}  // namespace invar::cuda
