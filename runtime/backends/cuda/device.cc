// What is asked of the CUDA runtime outside of kernels.

#include "runtime/backends/cuda/device.h"

#include <new>

namespace invar::cuda {

void fail(cudaError_t error, const char* what) {
  if (error == cudaErrorMemoryAllocation) {
    cudaGetLastError();  // not sticky: the next call starts clean
    throw std::bad_alloc();
  }
  throw BackendError(std::string("CUDA: ") + what + ": " + cudaGetErrorString(error));
}

Buffer::~Buffer() {
  if (data_ != nullptr) cudaFree(data_);
}

void* Buffer::reserve(std::size_t bytes, cudaStream_t stream) {
  if (bytes <= bytes_) return data_;
  if (data_ != nullptr) {
    check(cudaStreamSynchronize(stream), "cudaStreamSynchronize");
    check(cudaFree(data_), "cudaFree");
    data_ = nullptr;
    bytes_ = 0;
  }
  const std::size_t size = (bytes + 255) / 256 * 256;
  check(cudaMalloc(&data_, size), "cudaMalloc");
  bytes_ = size;
  return data_;
}

}  // namespace invar::cuda
