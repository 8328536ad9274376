// Digests of rows and the best entries of a logits row, so that no row has to leave the GPU.

#include <cuda_runtime.h>

#include "runtime/backends/cuda/device.h"
#include "runtime/backends/cuda/kernels.h"
#include "runtime/backends/cuda/xxh3.cuh"
#include "runtime/numerics/bits.h"

namespace invar::cuda {
namespace {

constexpr int kSegments = 8;

__device__ void store_canonical(const xxh3::Hash& hash, unsigned char* out) {
  for (int i = 0; i < 8; ++i) {
    out[i] = static_cast<unsigned char>(hash.high >> (56 - 8 * i));
    out[8 + i] = static_cast<unsigned char>(hash.low >> (56 - 8 * i));
  }
}

/// grid: (segments, rows). x and stride count 4-byte words; cols counts values of `words` words.
__global__ void __launch_bounds__(xxh3::kThreads)
    digest_kernel(const std::uint32_t* x, std::int64_t stride, std::int64_t cols, int words,
                  unsigned char* out) {
  __shared__ std::uint64_t sums[2][xxh3::kThreads / 32][8];
  __shared__ std::uint64_t acc[8];
  const std::int64_t s = blockIdx.x, begin = cols * s / kSegments, end = cols * (s + 1) / kSegments;
  const std::uint32_t* input = x + std::int64_t(blockIdx.y) * stride + begin * words;
  const std::int64_t length = (end - begin) * words * 4;
  unsigned char* const to = out + (std::int64_t(blockIdx.y) * kSegments + s) * 16;
  if (length <= 240) {
    if (threadIdx.x == 0) store_canonical(xxh3::hash_short(input, std::uint64_t(length)), to);
    return;
  }
  const std::uint64_t lane = xxh3::accumulate(input, length, sums);
  if (threadIdx.x < 8) acc[threadIdx.x] = lane;
  __syncthreads();
  if (threadIdx.x == 0) store_canonical(xxh3::merge(acc, std::uint64_t(length)), to);
}

/// The order of top(): greater first, then the lower id; -0 equals +0. No NaN comes here.
template <class T>
__device__ bool before(T a, std::int32_t a_id, T b, std::int32_t b_id) {
  return a > b || (a == b && a_id < b_id);
}

constexpr int kTopThreads = 256;

/// Each block gives the `count` best of its slice, best first; id -1: no more. flags: a value that
/// is not finite was seen.
template <class T>
__global__ void __launch_bounds__(kTopThreads)
    top_kernel(const T* x, std::int64_t n, int count, double* values, std::int32_t* ids,
               std::int32_t* flags) {
  __shared__ T best_value[kTopThreads];
  __shared__ std::int32_t best_id[kTopThreads];
  const int t = int(threadIdx.x);
  const std::int64_t begin = n * blockIdx.x / gridDim.x, end = n * (blockIdx.x + 1) / gridDim.x;
  bool odd = false;
  for (std::int64_t i = begin + t; i < end; i += kTopThreads) odd = odd || !is_finite(x[i]);
  odd = __syncthreads_or(odd) != 0;
  if (t == 0) flags[blockIdx.x] = odd;
  if (odd) return;
  T last = T(0);
  std::int32_t last_id = -1;
  for (int round = 0; round < count; ++round) {
    T value = T(0);
    std::int32_t id = -1;
    for (std::int64_t i = begin + t; i < end; i += kTopThreads) {
      const T v = x[i];
      if (round > 0 && !before(last, last_id, v, std::int32_t(i))) continue;
      if (id < 0 || before(v, std::int32_t(i), value, id)) {
        value = v;
        id = std::int32_t(i);
      }
    }
    best_value[t] = value;
    best_id[t] = id;
    __syncthreads();
    for (int h = kTopThreads / 2; h >= 1; h /= 2) {
      if (t < h && best_id[t + h] >= 0 &&
          (best_id[t] < 0 ||
           before(best_value[t + h], best_id[t + h], best_value[t], best_id[t]))) {
        best_value[t] = best_value[t + h];
        best_id[t] = best_id[t + h];
      }
      __syncthreads();
    }
    last = best_value[0];
    last_id = best_id[0];
    __syncthreads();
    if (t == 0) {
      values[std::int64_t(blockIdx.x) * count + round] = double(last);
      ids[std::int64_t(blockIdx.x) * count + round] = last_id;
    }
    if (last_id < 0) {
      for (int r = round + 1 + t; r < count; r += kTopThreads) {
        ids[std::int64_t(blockIdx.x) * count + r] = -1;
      }
      return;
    }
  }
}

}  // namespace

void digests(cudaStream_t stream, bool wide, const void* x, std::int64_t stride, std::int64_t rows,
             std::int64_t cols, void* out) {
  if (rows == 0) return;
  const int words = wide ? 2 : 1;
  digest_kernel<<<dim3(kSegments, unsigned(rows)), xxh3::kThreads, 0, stream>>>(
      static_cast<const std::uint32_t*>(x), stride * words, cols, words,
      static_cast<unsigned char*>(out));
  check_launch("digest");
}

void top_entries(cudaStream_t stream, bool wide, const void* x, std::int64_t n, int count,
                 int slices, double* values, std::int32_t* ids, std::int32_t* flags) {
  if (wide) {
    top_kernel<double><<<unsigned(slices), kTopThreads, 0, stream>>>(static_cast<const double*>(x),
                                                                     n, count, values, ids, flags);
  } else {
    top_kernel<float><<<unsigned(slices), kTopThreads, 0, stream>>>(static_cast<const float*>(x), n,
                                                                    count, values, ids, flags);
  }
  check_launch("top");
}

}  // namespace invar::cuda
