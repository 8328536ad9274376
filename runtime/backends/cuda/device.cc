// What is asked of the CUDA runtime outside of kernels.

#include "runtime/backends/cuda/device.h"

#include <string>

namespace invar::cuda {

void fail(cudaError_t error, const char* what) {
  if (error == cudaErrorMemoryAllocation) {
    cudaGetLastError();  // not sticky: the next call starts clean
    throw OutOfMemory(std::string("device cuda: out of memory in ") + what);
  }
  throw BackendError(std::string("CUDA: ") + what + ": " + cudaGetErrorString(error));
}

std::string out_of_memory_text(std::size_t asked, std::size_t free, std::size_t total) {
  const auto mebibytes = [](std::size_t bytes) {
    const std::size_t tenths = bytes / 1024 * 10 / 1024;
    return std::to_string(tenths / 10) + "." + std::to_string(tenths % 10);
  };
  return "device cuda: out of memory: " + mebibytes(asked) + " MiB asked, " + mebibytes(free) +
         " of " + mebibytes(total) + " MiB free";
}

void* take_memory(std::size_t bytes) {
  void* memory = nullptr;
  const cudaError_t error = cudaMalloc(&memory, bytes);
  if (error == cudaSuccess) return memory;
  if (error != cudaErrorMemoryAllocation) fail(error, "cudaMalloc");
  cudaGetLastError();  // not sticky: the next call starts clean
  std::size_t free = 0, total = 0;
  if (cudaMemGetInfo(&free, &total) != cudaSuccess) cudaGetLastError();
  throw OutOfMemory(out_of_memory_text(bytes, free, total));
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
  data_ = take_memory(size);
  bytes_ = size;
  return data_;
}

}  // namespace invar::cuda
