// GEMM for few rows at the speed of memory: the kernel. Shapes are chosen in gemm_stream.cu.
//
// A warp owns one segment of a group of outputs and all rows of its block. Weights come through a
// ring of asynchronous copies of its own, x through panels that the warps of a segment share. The
// segments of a group lie in one block or in a cluster of blocks, where their sums meet in the
// neighbour tree. REQUIRES (stream_takes()): whole words, segments of one length, x in 16 bytes.
#pragma once

#include <cuda_runtime.h>

#include "runtime/backends/cuda/kernels/cluster.cuh"
#include "runtime/backends/cuda/kernels/words.cuh"
#include "runtime/numerics/order.h"

namespace isobit::cuda::stream {

/// One shape: a thread holds R rows and N outputs; G lanes hold different rows of one output. Words
/// come U at a time, D - 1 times U of an output are under way; at most T threads a block.
template <int R, int N, int G, int D, int U, int T>
struct Shape {
  static constexpr int kEach = R, kOutputs = N, kGroups = G, kDepth = D, kStep = U, kThreads = T;
  static constexpr int kLanes = 32 / G;     // lanes side by side over outputs
  static constexpr int kWide = N * kLanes;  // outputs of a warp
  static constexpr int kRows = R * G;       // rows of a block
};

struct Call {
  const float* x;
  std::int64_t x_stride, rows;
  WeightView w;
  float* out;
  std::int64_t out_stride;
  int blocks;  // of a cluster, each with segments / blocks of the segments
  int warps;   // of a segment, side by side over outputs
  int panel;   // words of one panel of x: a multiple of kStep, >= (kDepth - 1) * kStep
};

/// Where a thread stands: its lane's place among rows and outputs, so that the lanes that read one
/// 16-byte value of shared memory together are neighbours, for weights and for x.
template <class S>
struct Lane {
  int row, output;
  __device__ explicit Lane(int lane) {
    if constexpr (S::kGroups == 1) {
      row = 0;
      output = lane;
    } else if constexpr (S::kGroups == 2) {
      row = lane & 1;
      output = lane >> 1;
    } else {
      row = (lane & 1) | ((lane >> 1) & 2);
      output = ((lane >> 1) & 1) | ((lane >> 3) << 1);
    }
  }
};

/// The words of a thread's outputs.
template <class S>
__device__ inline void read_words(const uint4* ring, uint4 (&words)[S::kOutputs]) {
#pragma unroll
  for (int i = 0; i < S::kOutputs; ++i) words[i] = ring[i * S::kLanes];
}

/// The chains of a thread over four k: x of its rows, quad q of its words. If there is more, x of
/// the next four k takes x's place, so that its reading is hidden behind the other rows.
template <class W, class S>
__device__ inline void advance(const uint4 (&words)[S::kOutputs], int q, float4 (&x)[S::kEach],
                               const float4* next, bool more, float (&acc)[S::kEach][S::kOutputs]) {
  float w[S::kOutputs][4];
#pragma unroll
  for (int i = 0; i < S::kOutputs; ++i) {
#pragma unroll
    for (int e = 0; e < 4; ++e) w[i][e] = element<W>(words[i], q * 4 + e);
  }
#pragma unroll
  for (int r = 0; r < S::kEach; ++r) {
    const float values[4] = {x[r].x, x[r].y, x[r].z, x[r].w};
    if (more) x[r] = next[r * S::kGroups];
#pragma unroll
    for (int e = 0; e < 4; ++e) {
#pragma unroll
      for (int i = 0; i < S::kOutputs; ++i) acc[r][i] = fma_(values[e], w[i][e], acc[r][i]);
    }
  }
}

/// Panels of x of one segment: (2, panel * kVector / 4, kRows) float4.
template <class W, class S>
struct Panels {
  static constexpr int kQuads = W::kVector / 4;
  const Call& call;
  float4* at;
  std::int64_t begin, row0;  // first column and row
  int quads;                 // of the whole segment
  int thread, threads;       // of the warps that share the panels

  /// Panel p into its half; `async`: as a part of the group that is committed next.
  template <bool async>
  __device__ void load(int p) const {
    const int per = call.panel * kQuads, first = p * per;
    float4* const to = at + (p & 1) * per * S::kRows;
    for (int i = thread; i < per * S::kRows; i += threads) {
      const int row = (i >> 1) % S::kRows, k4 = (i & 1) + 2 * ((i >> 1) / S::kRows);
      if (first + k4 >= quads) break;
      const bool there = row0 + row < call.rows;
      const float4* from = reinterpret_cast<const float4*>(
                               call.x + (there ? row0 + row : 0) * call.x_stride + begin) +
                           first + k4;
      if constexpr (async) {
        copy_async(shared_address(to + k4 * S::kRows + row), from);
      } else {
        to[k4 * S::kRows + row] = *from;
      }
    }
  }
};

/// The sums of a block's segments in shared memory, (segments, kRows, outputs), to the tree.
template <class S>
__device__ inline void finish_sums(const Call& call, const float* sums, int own, std::int64_t n0,
                                   std::int64_t row0) {
  const int wide = call.warps * S::kWide, all = S::kRows * wide;
  const int rank = int(blockIdx.x) % call.blocks;
  const auto store = [&](int e, float y) {
    const std::int64_t row = row0 + e / wide, n = n0 + e % wide;
    if (row < call.rows && n < call.w.n) call.out[row * call.out_stride + n] = canonical(y);
  };
  if (call.blocks == 1) {
    for (int e = int(threadIdx.x); e < all; e += int(blockDim.x)) {
      store(e, tree_of<float>(own, [&](int s) { return sums[s * all + e]; }));
    }
    return;
  }
  if (own > 1) {
    auto* const here = const_cast<float*>(sums);
    for (int e = int(threadIdx.x); e < all; e += int(blockDim.x)) {
      here[e] = tree_of<float>(own, [&](int s) { return sums[s * all + e]; });
    }
  }
  cluster_barrier();
  const int begin = all / call.blocks * rank, end = begin + all / call.blocks;
  const unsigned at = shared_address(sums);
  for (int e = begin + int(threadIdx.x); e < end; e += int(blockDim.x)) {
    store(e, tree_of<float>(call.blocks,
                            [&](int b) { return load_remote<float>(at + unsigned(e) * 4, b); }));
  }
  cluster_barrier();  // nobody leaves while others read its sums
}

/// A warp's place: its segment, outputs and rows.
template <class S>
struct Part {
  int warp, own, part, segment, steps;  // own: segments of the block; steps: words of the segment
  std::int64_t n_block, n0, row0;
  __device__ explicit Part(const Call& call) {
    warp = int(threadIdx.x) / 32;
    own = call.w.segments / call.blocks;
    part = warp / call.warps;
    segment = int(blockIdx.x) % call.blocks * own + part;
    steps = int(call.w.words[segment + 1] - call.w.words[segment]);
    n_block = std::int64_t(int(blockIdx.x) / call.blocks) * call.warps * S::kWide;
    n0 = n_block + warp % call.warps * S::kWide;
    row0 = std::int64_t(blockIdx.y) * S::kRows;
  }
};

/// Weights on their way into a warp's ring: (kDepth, kStep, kWide) words.
template <class S>
struct Ring {
  static constexpr int kCopies = (S::kWide + 31) / 32;
  uint4* const at;
  unsigned to;
  const uint4* from[kCopies];
  std::int64_t n;
  int left;  // words that are still to be fetched

  __device__ Ring(const Call& call, const Part<S>& part, uint4* memory)
      : at(memory), n(call.w.n), left(part.steps) {
    const int lane = int(threadIdx.x) % 32;
    to = shared_address(at + lane);
#pragma unroll
    for (int j = 0; j < kCopies; ++j) {
      const std::int64_t output = part.n0 + lane + 32 * j;
      from[j] = static_cast<const uint4*>(call.w.data) + call.w.words[part.segment] * n +
                (output < n ? output : n - 1);
    }
  }
  /// The next words into a slot; one group of copies, also when nothing is left.
  __device__ void fetch(int slot) {
#pragma unroll
    for (int u = 0; u < S::kStep; ++u) {
      if (left > u && (S::kWide >= 32 || int(threadIdx.x) % 32 < S::kWide)) {
#pragma unroll
        for (int j = 0; j < kCopies; ++j) {
          copy_async(to + unsigned(((slot * S::kStep + u) * S::kWide + 32 * j) * 16), from[j]);
          from[j] += n;
        }
      }
    }
    left -= S::kStep;
    commit_copies();
  }
};

/// Where a warp is in its ring and its panels.
template <class W, class S>
struct Position {
  static constexpr int kPanelQuad = S::kRows;  // float4 of four k
  const Panels<W, S>& x;
  Ring<S>& ring;
  const Lane<S> place;
  int slot = 0, panel = 0, left;
  const float4* xs = nullptr;    // x of the words
  const uint4* words = nullptr;  // in the ring

  __device__ Position(const Panels<W, S>& panels, Ring<S>& weights)
      : x(panels), ring(weights), place(int(threadIdx.x) % 32), left(panels.call.panel) {}
  /// Waits until the words in `slot` are here, for all lanes, and a new panel, for all warps.
  __device__ void enter() {
    wait_for_copies<S::kDepth - 2>();
    if (left == x.call.panel) {
      __syncthreads();
      xs = x.at + (panel & 1) * x.call.panel * x.kQuads * kPanelQuad + place.row;
      x.template load<true>(++panel);
    } else {
      __syncwarp();
    }
    words = ring.at + slot * S::kStep * S::kWide + place.output;
  }
  /// Leaves the words in `slot`, which are in registers; its place is filled again.
  __device__ void next() {
    const int free = slot;
    slot = slot == S::kDepth - 1 ? 0 : slot + 1;
    enter();
    ring.fetch(free);
  }
};

/// The chains of a warp's segment.
template <class W, class S>
__device__ inline void segment_chains(Position<W, S>& at, int steps,
                                      float (&acc)[S::kEach][S::kOutputs]) {
  constexpr int kQuads = W::kVector / 4, kQuad = S::kRows, kStep = S::kStep, kWide = S::kWide;
  uint4 even[S::kOutputs], odd[S::kOutputs];  // two words in succession
  float4 x[S::kEach];
  read_words<S>(at.words, even);
#pragma unroll
  for (int r = 0; r < S::kEach; ++r) x[r] = at.xs[r * S::kGroups];
  int s = 0;
  for (; s + kStep <= steps; s += kStep) {
#pragma unroll
    for (int u = 0; u < kStep; u += 2) {
      read_words<S>(at.words + (u + 1) * kWide, odd);
#pragma unroll
      for (int q = 0; q < kQuads; ++q) {
        advance<W, S>(even, q, x, at.xs + (u * kQuads + q + 1) * kQuad, true, acc);
      }
      if (u + 2 < kStep) read_words<S>(at.words + (u + 2) * kWide, even);
#pragma unroll
      for (int q = 0; q + (u + 2 == kStep ? 1 : 0) < kQuads; ++q) {
        advance<W, S>(odd, q, x, at.xs + ((u + 1) * kQuads + q + 1) * kQuad, true, acc);
      }
    }
    const bool more = s + kStep < steps;
    at.xs += kStep * kQuads * kQuad;
    at.left = at.left == kStep ? at.x.call.panel : at.left - kStep;
    if (more) {
      at.next();
      read_words<S>(at.words, even);
    }
    advance<W, S>(odd, kQuads - 1, x, at.xs, more, acc);
  }
#pragma unroll 1
  for (int u = 0; s < steps; ++s, ++u) {  // fewer words than a step
    if (u > 0) read_words<S>(at.words + u * kWide, even);
#pragma unroll
    for (int q = 0; q < kQuads; ++q) {
      advance<W, S>(even, q, x, at.xs + (u * kQuads + q + 1) * kQuad,
                    q + 1 < kQuads || s + 1 < steps, acc);
    }
  }
}

/// blockDim: 32 * warps * segments / blocks. grid: (groups of outputs * blocks, rows / kRows).
/// Shared memory: a ring a warp, two panels a segment; then the sums.
template <class W, class S>
__global__ void __launch_bounds__(S::kThreads) stream_kernel(const __grid_constant__ Call call) {
  constexpr int kRing = S::kDepth * S::kStep * S::kWide, kQuads = W::kVector / 4;
  extern __shared__ __align__(16) unsigned char shared[];
  let_next_kernel_start();
  const Part<S> part(call);
  Ring<S> ring(call, part, reinterpret_cast<uint4*>(shared) + part.warp * kRing);
  for (int d = 0; d < S::kDepth - 1; ++d) ring.fetch(d);
  auto* const panels = reinterpret_cast<float4*>(shared) + int(blockDim.x) / 32 * kRing +
                       part.part * 2 * call.panel * kQuads * S::kRows;
  const int threads = call.warps * 32;  // that share the panels
  const Panels<W, S> x{call,
                       panels,
                       call.w.bounds[part.segment],
                       part.row0,
                       part.steps * kQuads,
                       int(threadIdx.x) - part.part * threads,
                       threads};
  wait_for_earlier_kernels();
  x.template load<false>(0);

  float acc[S::kEach][S::kOutputs];
#pragma unroll
  for (int r = 0; r < S::kEach; ++r) {
#pragma unroll
    for (int i = 0; i < S::kOutputs; ++i) acc[r][i] = 0.0f;
  }
  Position<W, S> at(x, ring);
  at.enter();
  ring.fetch(S::kDepth - 1);
  segment_chains<W, S>(at, part.steps, acc);

  wait_for_copies<0>();
  __syncthreads();
  auto* const sums = reinterpret_cast<float*>(shared);
  const int wide = call.warps * S::kWide;
#pragma unroll
  for (int r = 0; r < S::kEach; ++r) {
#pragma unroll
    for (int i = 0; i < S::kOutputs; ++i) {
      const int row = r * S::kGroups + at.place.row;
      const int output = part.warp % call.warps * S::kWide + i * S::kLanes + at.place.output;
      sums[(part.part * S::kRows + row) * wide + output] = acc[r][i];
    }
  }
  __syncthreads();
  finish_sums<S>(call, sums, part.own, part.n_block, part.row0);
}

}  // namespace isobit::cuda::stream
