// GEMM for many rows (prefill): tiles of outputs in registers, tiles of k in shared memory, one
// grid plane a segment, then the neighbour tree over the planes.
//
// Shared memory holds 16 k at a time; a segment's last, shorter tile runs only its own k, so that
// a chain sees exactly the operations of order.h.

#include <cuda_runtime.h>

#include "runtime/backends/cuda/device.h"
#include "runtime/backends/cuda/words.cuh"
#include "runtime/numerics/order.h"

namespace invar::cuda {
namespace {

constexpr int kThreads = 256;  // 16 x 16 threads of a tile
constexpr int kDepth = 16;     // k of a tile in shared memory

template <class T>
struct TileCall {
  const T* x;
  std::int64_t x_stride, rows;
  WeightView w;
  T* out;  // plane s at out + s * plane; stride is out_stride
  std::int64_t out_stride, plane;
};

/// What one thread carries from global to shared memory for one step of 16 k.
template <class T, class W, int kTile>
struct Stage {
  static constexpr int kWords = kDepth / W::kVector * kTile / kThreads;
  static constexpr int kValues = kDepth * kTile / kThreads;
  uint4 words[kWords];
  T values[kValues];

  __device__ void load(const TileCall<T>& call, std::int64_t word, std::int64_t k, int length,
                       std::int64_t row0, std::int64_t n0) {
    const int t = int(threadIdx.x);
    const auto* data = static_cast<const uint4*>(call.w.data);
#pragma unroll
    for (int i = 0; i < kWords; ++i) {
      const int index = t + i * kThreads;
      const std::int64_t n = n0 + index % kTile;
      const int b = index / kTile;
      words[i] = make_uint4(0, 0, 0, 0);
      if (n < call.w.n && b * W::kVector < length) {
        words[i] = __ldg(data + (word + b) * call.w.n + n);
      }
    }
#pragma unroll
    for (int i = 0; i < kValues; ++i) {
      const int index = t + i * kThreads;
      const std::int64_t row = row0 + index / kDepth;
      const int j = index % kDepth;
      values[i] = row < call.rows && j < length ? call.x[row * call.x_stride + k + j] : T(0);
    }
  }

  __device__ void store(T (&xs)[kDepth][kTile + 4], T (&ws)[kDepth][kTile + 4]) const {
    const int t = int(threadIdx.x);
#pragma unroll
    for (int i = 0; i < kWords; ++i) {
      const int index = t + i * kThreads;
#pragma unroll
      for (int e = 0; e < W::kVector; ++e) {
        ws[index / kTile * W::kVector + e][index % kTile] = T(element<W>(words[i], e));
      }
    }
#pragma unroll
    for (int i = 0; i < kValues; ++i) {
      const int index = t + i * kThreads;
      xs[index % kDepth][index / kDepth] = values[i];
    }
  }
};

/// Row or column of element i of thread t's share: groups of four, 64 apart.
__device__ inline int place(int t, int i) {
  return i / 4 * 64 + t * 4 + i % 4;
}

template <class T, int kTile>
__device__ inline void outer_product(const T (&xs)[kDepth][kTile + 4],
                                     const T (&ws)[kDepth][kTile + 4], int k,
                                     T (&acc)[kTile / 16][kTile / 16]) {
  constexpr int kEach = kTile / 16;
  const int tx = int(threadIdx.x) % 16, ty = int(threadIdx.x) / 16;
  T a[kEach], b[kEach];
#pragma unroll
  for (int i = 0; i < kEach; ++i) a[i] = xs[k][place(ty, i)];
#pragma unroll
  for (int i = 0; i < kEach; ++i) b[i] = ws[k][place(tx, i)];
#pragma unroll
  for (int i = 0; i < kEach; ++i) {
#pragma unroll
    for (int j = 0; j < kEach; ++j) acc[i][j] = fma_(a[i], b[j], acc[i][j]);
  }
}

/// grid: (outputs, rows, segments) in tiles of kTile.
template <class T, class W, int kTile>
__global__ void __launch_bounds__(kThreads) tile_kernel(TileCall<T> call) {
  constexpr int kEach = kTile / 16;
  __shared__ __align__(16) T xs[2][kDepth][kTile + 4];
  __shared__ __align__(16) T ws[2][kDepth][kTile + 4];
  const std::int64_t n0 = std::int64_t(blockIdx.x) * kTile, row0 = std::int64_t(blockIdx.y) * kTile;
  const int s = int(blockIdx.z);
  const std::int64_t begin = call.w.bounds[s], end = call.w.bounds[s + 1];
  T acc[kEach][kEach];
#pragma unroll
  for (int i = 0; i < kEach; ++i) {
#pragma unroll
    for (int j = 0; j < kEach; ++j) acc[i][j] = T(0);
  }
  Stage<T, W, kTile> stage;
  const auto length_at = [&](std::int64_t k) { return int(end - k < kDepth ? end - k : kDepth); };
  std::int64_t word = call.w.words[s];
  if (begin < end) {
    stage.load(call, word, begin, length_at(begin), row0, n0);
    stage.store(xs[0], ws[0]);
  }
  __syncthreads();
  int now = 0;
  for (std::int64_t k = begin; k < end; k += kDepth) {
    const std::int64_t next = k + kDepth;
    word += kDepth / W::kVector;
    if (next < end) stage.load(call, word, next, length_at(next), row0, n0);
    const int length = length_at(k);
    if (length == kDepth) {
#pragma unroll
      for (int i = 0; i < kDepth; ++i) outer_product<T, kTile>(xs[now], ws[now], i, acc);
    } else {
      for (int i = 0; i < length; ++i) outer_product<T, kTile>(xs[now], ws[now], i, acc);
    }
    if (next < end) stage.store(xs[now ^ 1], ws[now ^ 1]);
    __syncthreads();
    now ^= 1;
  }
  const int tx = int(threadIdx.x) % 16, ty = int(threadIdx.x) / 16;
  T* out = call.out + std::int64_t(s) * call.plane;
#pragma unroll
  for (int i = 0; i < kEach; ++i) {
    const std::int64_t row = row0 + place(ty, i);
#pragma unroll
    for (int j = 0; j < kEach; ++j) {
      const std::int64_t n = n0 + place(tx, j);
      if (row < call.rows && n < call.w.n) out[row * call.out_stride + n] = acc[i][j];
    }
  }
}

template <class T>
__global__ void tree_kernel(const T* planes, std::int64_t plane, int segments, std::int64_t rows,
                            std::int64_t n, T* out, std::int64_t out_stride) {
  const std::int64_t i = std::int64_t(blockIdx.x) * kThreads + std::int64_t(threadIdx.x);
  if (i >= rows * n) return;
  T sum[kMaxSegments];
  if (segments == 8) {
#pragma unroll
    for (int s = 0; s < 8; ++s) sum[s] = planes[s * plane + i];
    const T left = (sum[0] + sum[1]) + (sum[2] + sum[3]);
    sum[0] = left + ((sum[4] + sum[5]) + (sum[6] + sum[7]));
  } else {
    for (int s = 0; s < segments; ++s) sum[s] = planes[s * plane + i];
    neighbour_tree(sum, segments);
  }
  out[i / n * out_stride + i % n] = canonical(sum[0]);
}

template <class T, class W>
void launch(const GemmCall& call, void* workspace) {
  constexpr int kTile = sizeof(T) == 8 ? 64 : 128;
  const std::int64_t plane = call.rows * call.w.n;
  const TileCall<T> args{static_cast<const T*>(call.x), call.x_stride, call.rows, call.w,
                         static_cast<T*>(workspace),    call.w.n,      plane};
  const dim3 grid(unsigned((call.w.n + kTile - 1) / kTile),
                  unsigned((call.rows + kTile - 1) / kTile), unsigned(call.w.segments));
  tile_kernel<T, W, kTile><<<grid, kThreads, 0, call.stream>>>(args);
  check_launch("gemm_tile");
  tree_kernel<T><<<unsigned((plane + kThreads - 1) / kThreads), kThreads, 0, call.stream>>>(
      static_cast<const T*>(workspace), plane, call.w.segments, call.rows, call.w.n,
      static_cast<T*>(call.out), call.out_stride);
  check_launch("gemm_tree");
}

}  // namespace

std::size_t gemm_tile_bytes(const GemmCall& call) {
  return std::size_t(call.rows * call.w.n * call.w.segments) * (call.wide ? 8 : 4);
}

const char* gemm_tile(const GemmCall& call, void* workspace) {
  if (call.rows * call.w.n == 0 || call.w.segments == 0) return gemm_rows(call);
  with_types(call.wide, call.w.element,
             [&]<class T, class W>(T, W) { launch<T, W>(call, workspace); });
  return "gemm_tile";
}

}  // namespace invar::cuda
