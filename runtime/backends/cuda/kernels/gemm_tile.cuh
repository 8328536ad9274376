// GEMM for many rows (prefill): the kernel. Tiles are chosen in gemm_tile.cu.
//
// A block computes tiles of rows x outputs, outputs in registers, 16 k at a time in shared memory.
// It runs its segments one after the other and adds them as the neighbour tree does, like a binary
// counter: level l of `levels` keeps the sum of 2^l segments until its right neighbour is there.
// Where tiles are few, the segments of a tile are dealt to the blocks of a cluster, or to planes.
#pragma once

#include <cuda_runtime.h>

#include "runtime/backends/cuda/kernels/cluster.cuh"
#include "runtime/backends/cuda/kernels/words.cuh"
#include "runtime/numerics/order.h"

namespace isobit::cuda::tile {

constexpr int kDepth = 16;  // k of a tile in shared memory
constexpr int kUnroll = 8;  // of them in a row: more overflow the instruction cache

/// Rows and outputs of a tile, and of one thread; B blocks fit a multiprocessor.
template <int M, int N, int EM, int EN, int B>
struct Shape {
  static constexpr int kRows = M, kOutputs = N, kEachRow = EM, kEachOutput = EN, kBlocks = B;
  static constexpr int kAcross = N / EN, kThreads = M / EM * kAcross;
  static constexpr int kRowStride = M + 4, kOutputStride = N + 4;  // of shared memory
  static constexpr int kStage = kDepth * (kRowStride + kOutputStride);
};

template <class T>
struct Call {
  const T* x;
  std::int64_t x_stride, rows;
  WeightView w;
  T* out;
  std::int64_t out_stride;
  T* levels = nullptr;     // of every block: (log2(own), outputs of a thread, threads)
  std::int64_t plane = 0;  // else: block b of a tile writes its sum at out + b * plane, unfinished
  int blocks = 1;          // that share a tile, each with segments / blocks of the segments
  bool cluster = false;    // they are a cluster
  bool aligned = false;    // rows of x start at 16 bytes, and so does every segment
};

/// The next 16 k, or fewer at a segment's end.
struct Cursor {
  int segment;
  std::int64_t k, word;
  int length;
  template <class T>
  __device__ Cursor(const Call<T>& call, int s) : segment(s) {
    enter(call);
  }
  template <class T>
  __device__ void enter(const Call<T>& call) {
    k = call.w.bounds[segment];
    word = call.w.words[segment];
    measure(call);
  }
  template <class T>
  __device__ void measure(const Call<T>& call) {
    const std::int64_t left = call.w.bounds[segment + 1] - k;
    length = int(left < kDepth ? left : kDepth);
  }
  template <class T>
  __device__ bool last(const Call<T>& call) const {
    return k + kDepth >= call.w.bounds[segment + 1];
  }
  template <class T>
  __device__ void advance(const Call<T>& call, int vector) {
    if (last(call)) {
      ++segment;
      enter(call);
    } else {
      k += kDepth;
      word += kDepth / vector;
      measure(call);
    }
  }
};

/// What one thread carries from global to shared memory for one step of 16 k.
template <class T, class W, class S>
struct Stage {
  static constexpr int kWords = kDepth / W::kVector * S::kOutputs / S::kThreads;
  static constexpr int kQuads = kDepth / 4 * S::kRows / S::kThreads;
  uint4 words[kWords];
  T values[kQuads][4];

  __device__ void load(const Call<T>& call, const Cursor& at, std::int64_t row0, std::int64_t n0) {
    const int t = int(threadIdx.x);
    const auto* data = static_cast<const uint4*>(call.w.data);
#pragma unroll
    for (int i = 0; i < kWords; ++i) {
      const int index = t + i * S::kThreads, b = index / S::kOutputs;
      const std::int64_t n = n0 + index % S::kOutputs;
      words[i] = make_uint4(0, 0, 0, 0);
      if (n < call.w.n && b * W::kVector < at.length) {
        words[i] = __ldg(data + (at.word + b) * call.w.n + n);
      }
    }
    const std::int64_t row = row0 + t % S::kRows;
    const T* from = call.x + (row < call.rows ? row : call.rows - 1) * call.x_stride + at.k;
    if (call.aligned && at.length == kDepth) {
#pragma unroll
      for (int i = 0; i < kQuads; ++i) load4(from + (t / S::kRows * kQuads + i) * 4, values[i]);
      return;
    }
#pragma unroll
    for (int i = 0; i < kQuads; ++i) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int j = (t / S::kRows * kQuads + i) * 4 + e;
        values[i][e] = j < at.length ? from[j] : T(0);
      }
    }
  }

  __device__ void store(T* xs, T* ws) const {
    const int t = int(threadIdx.x);
#pragma unroll
    for (int i = 0; i < kWords; ++i) {
      const int index = t + i * S::kThreads;
      T* to = ws + index / S::kOutputs * W::kVector * S::kOutputStride + index % S::kOutputs;
#pragma unroll
      for (int e = 0; e < W::kVector; ++e) to[e * S::kOutputStride] = T(element<W>(words[i], e));
    }
#pragma unroll
    for (int i = 0; i < kQuads; ++i) {
      T* to = xs + (t / S::kRows * kQuads + i) * 4 * S::kRowStride + t % S::kRows;
#pragma unroll
      for (int e = 0; e < 4; ++e) to[e * S::kRowStride] = values[i][e];
    }
  }
};

/// A thread's place in a tile: a warp is 4 rows x 8 outputs of threads, lanes so dealt that those
/// that read one value together are neighbours.
template <class S>
struct Place {
  int down, across;
  __device__ explicit Place(int t) {
    constexpr int kWarpsAcross = S::kAcross / 8;
    const int lane = t % 32, warp = t / 32;
    down = warp / kWarpsAcross * 4 + (((lane >> 1) & 1) | ((lane >> 2) & 2));
    across = warp % kWarpsAcross * 8 + ((lane & 1) | ((lane >> 1) & 2) | ((lane >> 2) & 4));
  }
  /// Row or output of element i: groups of four, spread over the tile.
  __device__ int row(int i) const {
    return i / 4 * (S::kRows / (S::kEachRow / 4)) + down * 4 + i % 4;
  }
  __device__ int output(int i) const {
    return i / 4 * (S::kOutputs / (S::kEachOutput / 4)) + across * 4 + i % 4;
  }
};

/// What a thread multiplies for one k.
template <class T, class S>
struct Fragment {
  T a[S::kEachRow], b[S::kEachOutput];
  __device__ void load(const T* xs, const T* ws, const Place<S>& place) {
#pragma unroll
    for (int i = 0; i < S::kEachRow; i += 4) {
      load4(xs + place.row(i), *reinterpret_cast<T(*)[4]>(a + i));
    }
#pragma unroll
    for (int i = 0; i < S::kEachOutput; i += 4) {
      load4(ws + place.output(i), *reinterpret_cast<T(*)[4]>(b + i));
    }
  }
  __device__ void multiply(T (&acc)[S::kEachRow][S::kEachOutput]) const {
#pragma unroll
    for (int i = 0; i < S::kEachRow; ++i) {
#pragma unroll
      for (int j = 0; j < S::kEachOutput; ++j) acc[i][j] = fma_(a[i], b[j], acc[i][j]);
    }
  }
};

/// `length` of the k in shared memory.
template <class T, class S>
__device__ inline void multiply_tile(const T* xs, const T* ws, int length, const Place<S>& place,
                                     T (&acc)[S::kEachRow][S::kEachOutput]) {
  Fragment<T, S> fragment[2];  // the next one is read while one is multiplied
  if (length < kDepth) {
#pragma unroll 1
    for (int k = 0; k < length; ++k) {
      fragment[0].load(xs + k * S::kRowStride, ws + k * S::kOutputStride, place);
      fragment[0].multiply(acc);
    }
    return;
  }
  fragment[0].load(xs, ws, place);
#pragma unroll 1
  for (int k0 = 0; k0 < kDepth; k0 += kUnroll) {
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      xs += S::kRowStride;
      ws += S::kOutputStride;
      if (u + 1 < kUnroll || k0 + kUnroll < kDepth) fragment[(u + 1) % 2].load(xs, ws, place);
      fragment[u % 2].multiply(acc);
    }
  }
}

/// Segment `index` of a block is complete: adds up what is complete with it; what has to wait goes
/// to its level, and acc starts from +0 again. The last segment leaves the sum in acc.
template <class T, class S>
__device__ inline void end_segment(T* levels, int index, bool last,
                                   T (&acc)[S::kEachRow][S::kEachOutput]) {
  constexpr int kAll = S::kEachRow * S::kEachOutput;
  T* at = levels + threadIdx.x * 4;
  T* const flat = &acc[0][0];
  for (; (index & 1) != 0; index >>= 1) {
#pragma unroll
    for (int e = 0; e < kAll; e += 4) {
      T left[4];
      load4(at + e * S::kThreads, left);
#pragma unroll
      for (int i = 0; i < 4; ++i) flat[e + i] = left[i] + flat[e + i];
    }
    at += kAll * S::kThreads;
  }
  if (last) return;
#pragma unroll
  for (int e = 0; e < kAll; e += 4) {
    store4(at + e * S::kThreads, *reinterpret_cast<const T(*)[4]>(flat + e));
#pragma unroll
    for (int i = 0; i < 4; ++i) flat[e + i] = T(0);
  }
}

template <class T, class S>
__device__ inline void store_tile(const Call<T>& call, const Place<S>& place, std::int64_t row0,
                                  std::int64_t n0, T* out, bool whole,
                                  const T (&acc)[S::kEachRow][S::kEachOutput]) {
#pragma unroll
  for (int i = 0; i < S::kEachRow; ++i) {
    const std::int64_t row = row0 + place.row(i);
    if (row >= call.rows) continue;
#pragma unroll
    for (int j = 0; j < S::kEachOutput; ++j) {
      const std::int64_t n = n0 + place.output(j);
      if (n < call.w.n) {
        out[row * call.out_stride + n] = whole ? canonical(acc[i][j]) : acc[i][j];
      }
    }
  }
}

/// Through shared memory of the cluster's blocks: each finishes its share of the tile.
template <class T, class S>
__device__ inline void join_cluster(const Call<T>& call, const Place<S>& place, T* shared, int rank,
                                    std::int64_t row0, std::int64_t n0,
                                    const T (&acc)[S::kEachRow][S::kEachOutput]) {
#pragma unroll
  for (int i = 0; i < S::kEachRow; ++i) {
#pragma unroll
    for (int j = 0; j < S::kEachOutput; j += 4) {
      store4(shared + place.row(i) * S::kOutputs + place.output(j),
             *reinterpret_cast<const T(*)[4]>(&acc[i][j]));
    }
  }
  cluster_barrier();
  const int share = S::kRows * S::kOutputs / call.blocks;
  for (int e = share * rank + int(threadIdx.x); e < share * (rank + 1); e += S::kThreads) {
    const T y = tree_of<T>(call.blocks,
                           [&](int b) { return load_remote<T>(shared_address(shared + e), b); });
    const std::int64_t row = row0 + e / S::kOutputs, n = n0 + e % S::kOutputs;
    if (row < call.rows && n < call.w.n) call.out[row * call.out_stride + n] = canonical(y);
  }
  cluster_barrier();  // nobody goes on while others read its sums
}

/// grid: blocks * as many tiles as run at once. Tiles that share weights are neighbours.
template <class T, class W, class S>
__global__ void __launch_bounds__(S::kThreads, S::kBlocks)
    tile_kernel(const __grid_constant__ Call<T> call) {
  extern __shared__ __align__(16) unsigned char memory[];
  T* const shared = reinterpret_cast<T*>(memory);
  const std::int64_t down = (call.rows + S::kRows - 1) / S::kRows;
  const std::int64_t tiles = down * ((call.w.n + S::kOutputs - 1) / S::kOutputs);
  const int own = call.w.segments / call.blocks, rank = int(blockIdx.x) % call.blocks;
  T* const levels = call.levels + std::int64_t(blockIdx.x) * (31 - __clz(own)) *
                                      (S::kEachRow * S::kEachOutput * S::kThreads);
  const Place<S> place(int(threadIdx.x));
  for (std::int64_t tile = blockIdx.x / unsigned(call.blocks); tile < tiles;
       tile += gridDim.x / unsigned(call.blocks)) {
    const std::int64_t row0 = tile % down * S::kRows, n0 = tile / down * S::kOutputs;
    T acc[S::kEachRow][S::kEachOutput];
#pragma unroll
    for (int i = 0; i < S::kEachRow; ++i) {
#pragma unroll
      for (int j = 0; j < S::kEachOutput; ++j) acc[i][j] = T(0);
    }
    Cursor now(call, rank * own), next = now;
    Stage<T, W, S> stage;
    stage.load(call, now, row0, n0);
    stage.store(shared, shared + kDepth * S::kRowStride);
    __syncthreads();
    for (int half = 0;; half ^= 1) {
      const bool ends = now.last(call), done = ends && now.segment == rank * own + own - 1;
      if (!done) {
        next.advance(call, W::kVector);
        stage.load(call, next, row0, n0);
      }
      const T *xs = shared + half * S::kStage, *ws = xs + kDepth * S::kRowStride;
      multiply_tile<T, S>(xs, ws, now.length, place, acc);
      if (ends) end_segment<T, S>(levels, now.segment - rank * own, done, acc);
      if (done) break;
      T* const to = shared + (half ^ 1) * S::kStage;
      stage.store(to, to + kDepth * S::kRowStride);
      __syncthreads();
      now = next;
    }
    __syncthreads();
    if (call.cluster) {
      join_cluster<T, S>(call, place, shared, rank, row0, n0, acc);
    } else {
      store_tile<T, S>(call, place, row0, n0, call.out + rank * call.plane, call.plane == 0, acc);
    }
  }
}

}  // namespace isobit::cuda::tile
