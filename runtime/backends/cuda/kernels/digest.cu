// Digests of rows and the best entries of a logits row, so that no row has to leave the GPU.

#include <cuda_runtime.h>

#include "runtime/backends/cuda/device/device.h"
#include "runtime/backends/cuda/kernels/kernels.h"
#include "runtime/backends/cuda/kernels/xxh3.cuh"
#include "runtime/numerics/bits.h"

namespace isobit::cuda {
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
  __shared__ std::uint64_t sums[xxh3::kTogether][8];
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
constexpr std::size_t kTopShared = 44 * 1024;  // bytes, 4 KiB are left for the kernel's own arrays;
                                               // a longer slice is read from memory

template <class T>
struct TopCall {
  const T* x;
  std::int64_t stride, n;
  int count;
  bool staged;  // a slice fits shared memory
  double* values;
  std::int32_t *ids, *flags;
};

/// The better of a warp's entries; the same in every lane.
template <class T>
__device__ void warp_best(T& value, std::int32_t& id) {
  for (int h = 16; h >= 1; h /= 2) {
    const T other = __shfl_xor_sync(0xffffffffu, value, h);
    const std::int32_t other_id = __shfl_xor_sync(0xffffffffu, id, h);
    if (other_id >= 0 && (id < 0 || before(other, other_id, value, id))) {
      value = other;
      id = other_id;
    }
  }
}

/// grid: (slices, rows). Each block gives the `count` best of its slice, best first; id -1: no
/// more. flags: a value that is not finite was seen.
template <class T>
__global__ void __launch_bounds__(kTopThreads) top_kernel(TopCall<T> call) {
  constexpr int kWarps = kTopThreads / 32;
  extern __shared__ __align__(16) unsigned char slice[];
  __shared__ T best_value[2][kWarps];
  __shared__ std::int32_t best_id[2][kWarps];
  const int t = int(threadIdx.x);
  const std::int64_t begin = call.n * blockIdx.x / gridDim.x;
  const int length = int(call.n * (blockIdx.x + 1) / gridDim.x - begin);
  const T* x = call.x + std::int64_t(blockIdx.y) * call.stride + begin;
  T* const staged = reinterpret_cast<T*>(slice);
  bool odd = false;
  for (int i = t; i < length; i += kTopThreads) {
    const T v = x[i];
    odd = odd || !is_finite(v);
    if (call.staged) staged[i] = v;
  }
  if (call.staged) x = staged;
  const std::int64_t part = std::int64_t(blockIdx.y) * gridDim.x + blockIdx.x;
  odd = __syncthreads_or(odd) != 0;
  if (t == 0) call.flags[part] = odd;
  if (odd) return;
  T last = T(0);
  std::int32_t last_id = -1;
  for (int round = 0; round < call.count; ++round) {
    T value = T(0);
    std::int32_t id = -1;
    for (int i = t; i < length; i += kTopThreads) {
      const T v = x[i];
      if (round > 0 && !before(last, last_id, v, i)) continue;
      if (id < 0 || before(v, i, value, id)) {
        value = v;
        id = i;
      }
    }
    warp_best(value, id);
    if (t % 32 == 0) {
      best_value[round % 2][t / 32] = value;
      best_id[round % 2][t / 32] = id;
    }
    __syncthreads();
    last = best_value[round % 2][t % kWarps];
    last_id = best_id[round % 2][t % kWarps];
    warp_best(last, last_id);
    if (t == 0) {
      call.values[part * call.count + round] = double(last);
      call.ids[part * call.count + round] = last_id < 0 ? -1 : std::int32_t(begin) + last_id;
    }
    if (last_id < 0) {
      for (int r = round + 1 + t; r < call.count; r += kTopThreads) {
        call.ids[part * call.count + r] = -1;
      }
      return;
    }
  }
}

template <class T>
void launch_top(cudaStream_t stream, TopCall<T> call, std::int64_t rows, int slices) {
  const std::size_t bytes = std::size_t((call.n + slices - 1) / slices) * sizeof(T);
  call.staged = bytes <= kTopShared;
  top_kernel<T>
      <<<dim3(unsigned(slices), unsigned(rows)), kTopThreads, call.staged ? bytes : 0, stream>>>(
          call);
  check_launch("top");
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

void top_entries(cudaStream_t stream, bool wide, const void* x, std::int64_t stride,
                 std::int64_t rows, std::int64_t n, int count, int slices, double* values,
                 std::int32_t* ids, std::int32_t* flags) {
  if (rows == 0) return;
  if (wide) {
    launch_top<double>(stream,
                       {static_cast<const double*>(x), stride, n, count, false, values, ids, flags},
                       rows, slices);
  } else {
    launch_top<float>(stream,
                      {static_cast<const float*>(x), stride, n, count, false, values, ids, flags},
                      rows, slices);
  }
}

}  // namespace isobit::cuda
