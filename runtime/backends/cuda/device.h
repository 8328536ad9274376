// One GPU as this process sees it: errors as exceptions, memory that grows, what is installed.
//
// Promise: a failed CUDA call throws (std::bad_alloc when memory is short, else BackendError with
// the call and the driver's words); nothing is printed and nothing aborts. Callers: this folder.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <string>

#include "runtime/backend.h"

namespace invar::cuda {

[[noreturn]] void fail(cudaError_t error, const char* what);
inline void check(cudaError_t error, const char* what) {
  if (error != cudaSuccess) fail(error, what);
}
/// After a kernel launch.
inline void check_launch(const char* kernel) { check(cudaGetLastError(), kernel); }

struct GpuInfo {
  int index = 0;
  int count = 0;             // of GPUs
  int capability = 0;        // 90 for 9.0
  int multiprocessors = 0;
  std::size_t shared_limit = 0;  // bytes of shared memory a block may ask for
  std::string name;
  std::string uuid;
};

/// GPUs that this process can use; an Error in one line when there is none.
Result<int> gpu_count();
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
