// GEMM for few rows (decode): memory-bound, so every weight is read once and everything else is
// arranged around that. Packing of weights into words.
//
// A warp owns one segment of 32 * NT outputs, lane = output, and walks k upward; its block holds
// all segments, and their sums meet in shared memory in the neighbour tree. No workspace, no
// second kernel, no order that depends on the number of rows.

#include <cuda_runtime.h>

#include <algorithm>

#include "runtime/backends/cuda/device/device.h"
#include "runtime/backends/cuda/kernels/words.cuh"
#include "runtime/numerics/order.h"

namespace isobit::cuda {
namespace {

/// One shape of the kernel: R rows and N * 32 outputs a warp, L words in flight a thread, at most
/// `threads` a block (fewer registers are left when it is many).
template <int R, int N, int L, int threads>
struct Shape {
  static constexpr int kRows = R, kOutputs = N, kWords = L / N, kThreads = threads;
};

template <class T>
struct RowsCall {
  const T* x;
  std::int64_t x_stride, rows;
  WeightView w;
  T* out;
  std::int64_t out_stride;
};

/// The chain of one segment over one chunk of k: `raw` words against x in shared memory.
template <class T, class W, int R, int NT, int kWords, bool kWhole>
__device__ inline void chunk_chain(const uint4 (&raw)[NT][kWords], const T* xs, int length,
                                   T (&acc)[R][NT]) {
  constexpr int kChunk = kWords * W::kVector;
#pragma unroll
  for (int u = 0; u < kWords; ++u) {
#pragma unroll
    for (int half = 0; half < W::kVector; half += 4) {
      T x[R][4];
#pragma unroll
      for (int r = 0; r < R; ++r) load4(xs + r * kChunk + u * W::kVector + half, x[r]);
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        if (!kWhole && u * W::kVector + half + e >= length) continue;
#pragma unroll
        for (int i = 0; i < NT; ++i) {
          const T weight = T(element<W>(raw[i][u], half + e));
#pragma unroll
          for (int r = 0; r < R; ++r) acc[r][i] = fma_(x[r][e], weight, acc[r][i]);
        }
      }
    }
  }
}

template <class T, class W, class S>
__device__ inline void segment_chain(const RowsCall<T>& call, int segment, std::int64_t n0,
                                     std::int64_t row0, T* xs, T (&acc)[S::kRows][S::kOutputs]) {
  constexpr int R = S::kRows, NT = S::kOutputs, kWords = S::kWords;
  constexpr int kChunk = kWords * W::kVector;
  const int lane = int(threadIdx.x);
  const auto* words = static_cast<const uint4*>(call.w.data);
  const std::int64_t begin = call.w.bounds[segment], end = call.w.bounds[segment + 1];
  const uint4* at = words + call.w.words[segment] * call.w.n + n0 + lane;
  for (std::int64_t k = begin; k < end; k += kChunk) {
    const int length = int(end - k < kChunk ? end - k : kChunk);
    uint4 raw[NT][kWords];
#pragma unroll
    for (int u = 0; u < kWords; ++u) {
#pragma unroll
      for (int i = 0; i < NT; ++i) {
        raw[i][u] = make_uint4(0, 0, 0, 0);
        if (u * W::kVector < length && n0 + lane + 32 * i < call.w.n) {
          raw[i][u] = stream_word(at + std::int64_t(u) * call.w.n + 32 * i);
        }
      }
    }
    __syncwarp();
#pragma unroll
    for (int r = 0; r < R; ++r) {
      if (row0 + r < call.rows) {
        const T* row = call.x + (row0 + r) * call.x_stride + k;
        for (int i = lane; i < length; i += 32) xs[r * kChunk + i] = row[i];
      }
    }
    __syncwarp();
    if (length == kChunk) {
      chunk_chain<T, W, R, NT, kWords, true>(raw, xs, length, acc);
    } else {
      chunk_chain<T, W, R, NT, kWords, false>(raw, xs, length, acc);
    }
    at += std::int64_t(kWords) * call.w.n;
  }
}

/// blockDim: (32, segments * groups). Warp y: segment y % segments of output group y / segments.
template <class T, class W, class S>
__global__ void __launch_bounds__(S::kThreads) rows_kernel(RowsCall<T> call) {
  constexpr int R = S::kRows, NT = S::kOutputs, kChunk = S::kWords * W::kVector;
  extern __shared__ __align__(16) unsigned char shared[];
  T* const all_sums = reinterpret_cast<T*>(shared) + std::int64_t(blockDim.y) * R * kChunk;
  const int lane = int(threadIdx.x), warp = int(threadIdx.y);
  const int segments = call.w.segments, segment = warp % segments;
  const std::int64_t group =
      std::int64_t(blockIdx.x) * (blockDim.y / unsigned(segments)) + warp / segments;
  const std::int64_t n0 = group * (32 * NT), row0 = std::int64_t(blockIdx.y) * R;
  T acc[R][NT];
#pragma unroll
  for (int r = 0; r < R; ++r) {
#pragma unroll
    for (int i = 0; i < NT; ++i) acc[r][i] = T(0);
  }
  T* xs = reinterpret_cast<T*>(shared) + std::int64_t(warp) * R * kChunk;
  if (n0 < call.w.n) segment_chain<T, W, S>(call, segment, n0, row0, xs, acc);

  T* sums = all_sums + std::int64_t(warp) * R * NT * 32;
#pragma unroll
  for (int r = 0; r < R; ++r) {
#pragma unroll
    for (int i = 0; i < NT; ++i) sums[(r * NT + i) * 32 + lane] = acc[r][i];
  }
  for (int h = 1; h < segments; h *= 2) {  // pairs of neighbours, pairs of pairs, …
    __syncthreads();
    if (segment % (2 * h) == 0) {
      const T* other = sums + std::int64_t(h) * R * NT * 32;
      for (int i = lane; i < R * NT * 32; i += 32) sums[i] = sums[i] + other[i];
    }
  }
  if (segment != 0) return;
  for (int r = 0; r < R; ++r) {
    for (int i = 0; i < NT; ++i) {
      const std::int64_t n = n0 + 32 * i + lane;
      if (row0 + r < call.rows && n < call.w.n) {
        call.out[(row0 + r) * call.out_stride + n] = canonical(sums[(r * NT + i) * 32 + lane]);
      }
    }
  }
}

template <class T, class W, class S>
void launch(const GemmCall& call) {
  constexpr int R = S::kRows, NT = S::kOutputs, kChunk = S::kWords * W::kVector;
  const int segments = call.w.segments;
  const std::int64_t wanted = (call.w.n + 32 * NT - 1) / (32 * NT);
  const int groups = int(std::min<std::int64_t>(wanted, std::max(1, 8 / segments)));
  const dim3 block(32, unsigned(segments * groups));
  const dim3 grid(unsigned((wanted + groups - 1) / groups), unsigned((call.rows + R - 1) / R));
  const std::size_t shared = std::size_t(block.y) * R * (kChunk + NT * 32) * sizeof(T);
  const RowsCall<T> args{static_cast<const T*>(call.x), call.x_stride,  call.rows, call.w,
                         static_cast<T*>(call.out),     call.out_stride};
  allow_shared(reinterpret_cast<const void*>(rows_kernel<T, W, S>), shared);
  rows_kernel<T, W, S><<<grid, block, shared, call.stream>>>(args);
  check_launch("gemm_rows");
}

template <class T>
__global__ void zero_kernel(T* out, std::int64_t stride, std::int64_t rows, std::int64_t n) {
  const std::int64_t i = std::int64_t(blockIdx.x) * 256 + std::int64_t(threadIdx.x);
  if (i < rows * n) out[i / n * stride + i % n] = T(0);
}

template <class T>
void zero(const GemmCall& call) {
  const std::int64_t n = call.rows * call.w.n;
  zero_kernel<<<unsigned((n + 255) / 256), 256, 0, call.stream>>>(
      static_cast<T*>(call.out), call.out_stride, call.rows, call.w.n);
  check_launch("gemm_zero");
}

/// One thread a word of one output row.
template <class W>
__global__ void pack_kernel(const float* staging, std::int64_t first, std::int64_t count,
                            const float* scale, Format rounded, WeightView to) {
  const std::int64_t total = to.words[to.segments];
  const std::int64_t index = std::int64_t(blockIdx.x) * 256 + std::int64_t(threadIdx.x);
  if (index >= total * count) return;
  const std::int64_t row = index / total, word = index % total;
  int s = 0;
  while (word >= to.words[s + 1]) ++s;
  const std::int64_t k = to.bounds[s] + (word - to.words[s]) * W::kVector;
  std::uint32_t parts[4] = {0, 0, 0, 0};
  for (int e = 0; e < W::kVector && k + e < to.bounds[s + 1]; ++e) {
    float value = staging[row * to.k + k + e];
    if (scale != nullptr) value = value / scale[first + row];
    value = round_to(rounded, value);
    if constexpr (W::kVector == 4) {
      parts[e] = bits_of(value);
    } else if constexpr (W::kFormat == Format::bf16) {
      parts[e / 2] |= std::uint32_t(bf16_from_float(value)) << (e % 2 * 16);
    } else {
      parts[e / 2] |= std::uint32_t(fp16_from_float(value)) << (e % 2 * 16);
    }
  }
  auto* out = static_cast<uint4*>(const_cast<void*>(to.data));
  out[word * to.n + first + row] = make_uint4(parts[0], parts[1], parts[2], parts[3]);
}

}  // namespace

const char* gemm_rows(const GemmCall& call) {
  if (call.rows * call.w.n == 0) return "none";
  if (call.w.segments == 0) {
    call.wide ? zero<double>(call) : zero<float>(call);
    return "zero";
  }
  const char* const name = call.rows == 1   ? "gemm_rows1"
                           : call.rows == 2 ? "gemm_rows2"
                           : call.rows <= 4 ? "gemm_rows4"
                                            : "gemm_rows8";
  if (gemm_stream(call)) return name;
  // Enough warps first, then more outputs a warp: a value of x from shared memory serves them all.
  const bool many = call.w.n * call.w.segments >= 65536;
  with_types(call.wide, call.w.element, [&]<class T, class W>(T, W) {
    if (call.w.segments > 8) {
      return call.rows == 1 ? launch<T, W, Shape<1, 1, 4, 1024>>(call)
                            : launch<T, W, Shape<4, 1, 4, 1024>>(call);
    }
    if (call.rows == 1) return launch<T, W, Shape<1, 1, 16, 256>>(call);
    if (call.rows == 2) return launch<T, W, Shape<2, 1, 16, 256>>(call);
    if constexpr (sizeof(T) == 8) {
      return launch<T, W, Shape<4, 1, 8, 256>>(call);
    } else {
      if (call.rows <= 4) {
        return many ? launch<T, W, Shape<4, 2, 16, 256>>(call)
                    : launch<T, W, Shape<4, 1, 16, 256>>(call);
      }
      return many ? launch<T, W, Shape<8, 4, 16, 256>>(call)
                  : launch<T, W, Shape<8, 1, 16, 256>>(call);
    }
  });
  return name;
}

void pack_rows(cudaStream_t stream, const float* staging, std::int64_t first, std::int64_t count,
               const float* scale, Format rounded, const WeightView& to) {
  const std::int64_t n = to.words[to.segments] * count;
  if (n == 0) return;
  with_types(false, to.element, [&]<class T, class W>(T, W) {
    pack_kernel<W>
        <<<unsigned((n + 255) / 256), 256, 0, stream>>>(staging, first, count, scale, rounded, to);
  });
  check_launch("pack");
}

}  // namespace isobit::cuda
