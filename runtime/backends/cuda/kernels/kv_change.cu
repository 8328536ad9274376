// What a lossy cache does to keys and values before they are stored or read: changes and rotations.

#include <cuda_runtime.h>

#include "runtime/backends/cuda/device/device.h"
#include "runtime/backends/cuda/kernels/kernels.h"
#include "runtime/numerics/kv/change.h"
#include "runtime/numerics/kv/hadamard.h"

namespace isobit::cuda {
namespace {

constexpr int kMostBlock = 256;

/// grid: (blocks across, rows); a thread an element. The sums and differences of hadamard().
template <class T>
__global__ void hadamard_kernel(T* x, std::int64_t stride, int n) {
  __shared__ T values[kMostBlock];
  const int i = int(threadIdx.x);
  T* const at = x + std::int64_t(blockIdx.y) * stride + std::int64_t(blockIdx.x) * n + i;
  values[i] = *at * hadamard_scale<T>(n);
  for (int apart = 1; apart < n; apart *= 2) {
    __syncthreads();
    const T mine = values[i], other = values[i ^ apart];
    __syncthreads();
    values[i] = (i & apart) == 0 ? mine + other : other - mine;
  }
  *at = canonical(values[i]);
}

template <class T>
__global__ void change_kernel(T* x, std::int64_t stride, std::int64_t cols, std::int64_t d,
                              KvChange change, KvPlace first, const std::int64_t* positions,
                              std::int64_t count) {
  const std::int64_t index = std::int64_t(blockIdx.x) * 256 + std::int64_t(threadIdx.x);
  if (index >= count) return;
  const std::int64_t r = index / cols, i = index % cols;
  KvPlace place = first;
  place.head += std::int32_t(i / d);
  T& value = x[r * stride + i];
  value = changed(change, place, positions[r], std::int32_t(i % d), value);
}

}  // namespace

void hadamard(cudaStream_t stream, bool wide, void* x, std::int64_t stride, std::int64_t rows,
              std::int64_t cols, int block) {
  if (rows * cols == 0) return;
  constexpr std::int64_t kMostRows = 65535;
  const auto run = [&]<class T>(T) {
    for (std::int64_t r = 0; r < rows; r += kMostRows) {
      const std::int64_t count = rows - r < kMostRows ? rows - r : kMostRows;
      hadamard_kernel<T>
          <<<dim3(unsigned(cols / block), unsigned(count)), unsigned(block), 0, stream>>>(
              static_cast<T*>(x) + r * stride, stride, block);
    }
  };
  wide ? run(double{}) : run(float{});
  check_launch("hadamard");
}

void change_kv(cudaStream_t stream, bool wide, void* x, std::int64_t stride, std::int64_t cols,
               std::int64_t d, const KvChange& change, const KvPlace& first,
               const std::int64_t* positions, std::int64_t rows) {
  const std::int64_t count = rows * cols;
  if (count == 0) return;
  const auto run = [&]<class T>(T) {
    change_kernel<T><<<unsigned((count + 255) / 256), 256, 0, stream>>>(
        static_cast<T*>(x), stride, cols, d, change, first, positions, count);
  };
  wide ? run(double{}) : run(float{});
  check_launch("change_kv");
}

}  // namespace isobit::cuda
