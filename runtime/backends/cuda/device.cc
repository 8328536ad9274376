// What is asked of the CUDA runtime outside of kernels.

#include "runtime/backends/cuda/device.h"

#include <cstdio>
#include <new>

namespace invar::cuda {

void fail(cudaError_t error, const char* what) {
  if (error == cudaErrorMemoryAllocation) {
    cudaGetLastError();  // not sticky: the next call starts clean
    throw std::bad_alloc();
  }
  throw BackendError(std::string("CUDA: ") + what + ": " + cudaGetErrorString(error));
}

Result<int> gpu_count() {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error == cudaSuccess && count > 0) return count;
  cudaGetLastError();
  if (error == cudaErrorInsufficientDriver) {
    return Error{"device cuda: no NVIDIA driver, or one older than this build's CUDA", ""};
  }
  if (error == cudaSuccess || error == cudaErrorNoDevice) {
    return Error{"device cuda: this machine has no NVIDIA GPU", ""};
  }
  return Error{std::string("device cuda: ") + cudaGetErrorString(error), ""};
}

Result<GpuInfo> gpu_of_rank(int rank) {
  const auto count = gpu_count();
  INVAR_TRY(count);
  GpuInfo info;
  info.count = *count;
  info.index = rank % *count;
  cudaDeviceProp properties{};
  if (const cudaError_t error = cudaGetDeviceProperties(&properties, info.index);
      error != cudaSuccess) {
    return Error{std::string("device cuda: ") + cudaGetErrorString(error), ""};
  }
  info.capability = properties.major * 10 + properties.minor;
  info.multiprocessors = properties.multiProcessorCount;
  info.shared_limit = properties.sharedMemPerBlockOptin;
  info.name = properties.name;
  for (int i = 0; i < 16; ++i) {
    char hex[4];
    std::snprintf(hex, sizeof(hex), "%02x", unsigned(std::uint8_t(properties.uuid.bytes[i])));
    if (i == 4 || i == 6 || i == 8 || i == 10) info.uuid += '-';
    info.uuid += hex;
  }
  if (info.capability < 80) {
    return Error{"device cuda: " + info.name + " has compute capability " +
                     std::to_string(properties.major) + "." + std::to_string(properties.minor) +
                     ", at least 8.0 is needed",
                 ""};
  }
  return info;
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
