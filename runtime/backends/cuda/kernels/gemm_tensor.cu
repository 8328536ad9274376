// GEMM as a tensor core does it: the literal text on any GPU, mma.sync on a GPU of the modelled
// kind. The one file of kernels whose machine code may hold tensor-core instructions.
//
// mma.sync m16n8k16 takes 16 outputs as its rows and 8 rows of x as its columns, so that few rows
// waste little. One instruction is one group of sm90's unit: its 16 products are added exactly,
// whatever their order, and a tail's zeros do not count. A group that would be zeros alone is left
// out, since it would turn an accumulator of -0 into +0.

#include <cuda_runtime.h>

#include <algorithm>

#include "runtime/backends/cuda/device/device.h"
#include "runtime/backends/cuda/kernels/cluster.cuh"
#include "runtime/backends/cuda/kernels/tensor.h"
#include "runtime/backends/cuda/kernels/words.cuh"
#include "runtime/numerics/order.h"

namespace isobit::cuda {
namespace {

constexpr std::int64_t kMostBlocks = 65535;  // of a grid's second dimension

// ---- the literal text

constexpr int kLiteralThreads = 256;

/// blockDim: (256 / segments outputs, segments).
template <class W>
__global__ void __launch_bounds__(kLiteralThreads) literal_kernel(GemmCall call, TensorUnit unit) {
  __shared__ float sums[kLiteralThreads];
  const int lanes = int(blockDim.x), lane = int(threadIdx.x), segment = int(threadIdx.y);
  const std::int64_t n = std::int64_t(blockIdx.x) * lanes + lane;
  const std::int64_t begin = call.w.bounds[segment], end = call.w.bounds[segment + 1];
  const uint4* words =
      static_cast<const uint4*>(call.w.data) + call.w.words[segment] * call.w.n + n;
  const auto weight = [&](std::int64_t k) {
    const std::int64_t i = k - begin;
    return element<W>(__ldg(words + i / W::kVector * call.w.n), int(i % W::kVector));
  };
  float* const mine = sums + segment * lanes + lane;
  for (std::int64_t row = blockIdx.y; row < call.rows; row += gridDim.y) {
    const float* x = static_cast<const float*>(call.x) + row * call.x_stride;
    *mine = 0.0f;
    if (n < call.w.n) {
      *mine = tensor_chain(
          unit, [&](std::int64_t k) { return x[k]; }, weight, begin, end);
    }
    for (int h = 1; h < call.w.segments; h *= 2) {  // pairs of neighbours, pairs of pairs, …
      __syncthreads();
      if (segment % (2 * h) == 0) *mine = *mine + mine[h * lanes];
    }
    if (segment == 0 && n < call.w.n) {
      static_cast<float*>(call.out)[row * call.out_stride + n] = canonical(*mine);
    }
    __syncthreads();
  }
}

// ---- mma.sync

struct MmaCall {
  const uint4* x;  // (words, rows)
  std::int64_t rows;
  WeightView w;
  float* out;
  std::int64_t out_stride;
  [[nodiscard]] __device__ const uint4* weights() const {
    return static_cast<const uint4*>(w.data);
  }
};

/// One thread a word, rows side by side.
template <class W>
__global__ void words_kernel(const float* x, std::int64_t x_stride, std::int64_t rows, WeightView w,
                             uint4* to) {
  const std::int64_t index = std::int64_t(blockIdx.x) * 256 + std::int64_t(threadIdx.x);
  if (index >= w.words[w.segments] * rows) return;
  const std::int64_t word = index / rows, row = index % rows;
  int s = 0;
  while (word >= w.words[s + 1]) ++s;
  const std::int64_t k = w.bounds[s] + (word - w.words[s]) * W::kVector;
  std::uint32_t parts[4] = {0, 0, 0, 0};
#pragma unroll
  for (int e = 0; e < W::kVector; ++e) {
    if (k + e >= w.bounds[s + 1]) continue;
    const float value = x[row * x_stride + k + e];
    const std::uint16_t bits =
        W::kFormat == Format::bf16 ? bf16_from_float(value) : fp16_from_float(value);
    parts[e / 2] |= std::uint32_t(bits) << (e % 2 * 16);
  }
  to[index] = make_uint4(parts[0], parts[1], parts[2], parts[3]);
}

/// c += a * b as one group. With g = lane / 4 and t = lane % 4, and pairs of neighbouring k:
/// a: output g, k 2t; output g + 8, k 2t; output g, k 8 + 2t; output g + 8, k 8 + 2t.
/// b: row g, k 2t; row g, k 8 + 2t. c: outputs g, g, g + 8, g + 8 and rows 2t, 2t + 1 in turn.
template <class W>
__device__ inline void mma(float (&c)[4], const std::uint32_t (&a)[4], std::uint32_t b0,
                           std::uint32_t b1) {
#if __CUDA_ARCH__ >= 800
  if constexpr (W::kFormat == Format::bf16) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  } else {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  }
#endif
}

/// Elements 2t and 2t + 1 of a word, zeros where there is none.
__device__ inline std::uint32_t pair_of(const uint4* words, std::int64_t count, std::int64_t word,
                                        std::int64_t end, std::int64_t column, int t) {
  if (word >= end || column >= count) return 0;
  return __ldg(reinterpret_cast<const std::uint32_t*>(words + word * count + column) + t);
}

constexpr int kAhead = 4;  // groups whose operands a warp reads at once

/// The chain of one segment: kWide * 16 outputs from n0 and kDeep * 8 rows from row0.
template <class W, int kWide, int kDeep>
__device__ inline void mma_chain(const MmaCall& call, int segment, std::int64_t n0,
                                 std::int64_t row0, float (&c)[kWide][kDeep][4]) {
  const int g = int(threadIdx.x) / 4, t = int(threadIdx.x) % 4;
  const std::int64_t end = call.w.words[segment + 1];
  for (std::int64_t word = call.w.words[segment]; word < end; word += 2 * kAhead) {
    std::uint32_t a[kAhead][kWide][4], b[kAhead][kDeep][2];
#pragma unroll
    for (int u = 0; u < kAhead; ++u) {
#pragma unroll
      for (int i = 0; i < kWide; ++i) {
#pragma unroll
        for (int p = 0; p < 4; ++p) {
          a[u][i][p] = pair_of(call.weights(), call.w.n, word + 2 * u + p / 2, end,
                               n0 + 16 * i + p % 2 * 8 + g, t);
        }
      }
#pragma unroll
      for (int r = 0; r < kDeep; ++r) {
#pragma unroll
        for (int p = 0; p < 2; ++p) {
          b[u][r][p] = pair_of(call.x, call.rows, word + 2 * u + p, end, row0 + 8 * r + g, t);
        }
      }
    }
#pragma unroll
    for (int u = 0; u < kAhead; ++u) {
      if (word + 2 * u >= end) break;
#pragma unroll
      for (int i = 0; i < kWide; ++i) {
#pragma unroll
        for (int r = 0; r < kDeep; ++r) mma<W>(c[i][r], a[u][i], b[u][r][0], b[u][r][1]);
      }
    }
  }
}

/// blockDim: (32, segments), a warp a segment.
template <class W, int kWide, int kDeep, int kThreads>
__global__ void __launch_bounds__(kThreads) mma_rows_kernel(MmaCall call) {
  constexpr int kSums = kWide * kDeep * 4 * 32;
  extern __shared__ float all_sums[];  // (segments, kSums)
  const int lane = int(threadIdx.x), segment = int(threadIdx.y);
  const std::int64_t n0 = std::int64_t(blockIdx.x) * (16 * kWide);
  const std::int64_t row0 = std::int64_t(blockIdx.y) * (8 * kDeep);
  float c[kWide][kDeep][4] = {};
  mma_chain<W, kWide, kDeep>(call, segment, n0, row0, c);
  float* const sums = all_sums + segment * kSums;
#pragma unroll
  for (int i = 0; i < kWide * kDeep * 4; ++i) {
    sums[i * 32 + lane] = c[i / (kDeep * 4)][i / 4 % kDeep][i % 4];
  }
  for (int h = 1; h < call.w.segments; h *= 2) {
    __syncthreads();
    if (segment % (2 * h) == 0) {
      for (int i = lane; i < kSums; i += 32) sums[i] = sums[i] + sums[i + h * kSums];
    }
  }
  if (segment != 0) return;
#pragma unroll
  for (int i = 0; i < kWide * kDeep * 4; ++i) {
    const std::int64_t n = n0 + i / (kDeep * 4) * 16 + i % 4 / 2 * 8 + lane / 4;
    const std::int64_t row = row0 + i / 4 % kDeep * 8 + lane % 4 * 2 + i % 2;
    if (n < call.w.n && row < call.rows) {
      call.out[row * call.out_stride + n] = canonical(sums[i * 32 + lane]);
    }
  }
}

// Tiles: eight warps, each with 32 outputs and 32 rows; 32 k a step through a ring of stages.

constexpr int kMmaOutputs = 64, kMmaRows = 128, kMmaThreads = 256;
constexpr int kStepWords = 4, kStages = 4;
constexpr int kStageWords = kStepWords * (kMmaOutputs + kMmaRows);

/// The next four words of a segment, or fewer at its end. A segment without columns is one step.
struct Step {
  int segment;
  std::int64_t word;
  int left;  // words of the segment from here on, at most four of them of this step
  __device__ explicit Step(const WeightView& w) : segment(-1) { enter(w); }
  __device__ void enter(const WeightView& w) {
    if (++segment >= w.segments) return;
    word = w.words[segment];
    left = int(w.words[segment + 1] - word);
  }
  [[nodiscard]] __device__ bool last() const { return left <= kStepWords; }
  __device__ void advance(const WeightView& w) {
    if (last()) return enter(w);
    word += kStepWords;
    left -= kStepWords;
  }
};

/// 16 bytes, or as many zeros.
__device__ inline void copy_or_zero(unsigned to, const uint4* from, bool copy) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from),
               "r"(copy ? 16 : 0)
               : "memory");
}

/// kCount columns from `first` of a step's words into shared memory: (4 words, kCount).
template <int kCount>
__device__ inline void load_words(unsigned to, const uint4* words, std::int64_t count,
                                  std::int64_t first, const Step& step) {
#pragma unroll
  for (int i = 0; i < kStepWords * kCount / kMmaThreads; ++i) {
    const int index = int(threadIdx.x) + i * kMmaThreads, word = index / kCount;
    const std::int64_t column = first + index % kCount;
    const bool copy = word < step.left && column < count;
    copy_or_zero(to + unsigned(index) * 16,
                 copy ? words + (step.word + word) * count + column : words, copy);
  }
}

__device__ inline void load_step(const MmaCall& call, unsigned stage, const Step& step,
                                 std::int64_t n0, std::int64_t row0) {
  if (step.segment < call.w.segments) {
    load_words<kMmaOutputs>(stage, call.weights(), call.w.n, n0, step);
    load_words<kMmaRows>(stage + kStepWords * kMmaOutputs * 16, call.x, call.rows, row0, step);
  }
  commit_copies();
}

/// Four 8 x 8 matrices of 16-bit elements: row r of matrix m at the address of lane 8m + r.
__device__ inline void load_matrices(std::uint32_t (&to)[4], unsigned address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(address)
               : "memory");
}

/// A warp's sums: 2 x 16 outputs and 4 x 8 rows.
struct WarpTile {
  float c[2][4][4];
};

/// Two groups of a step, the second only where the segment has it.
template <class W>
__device__ inline void multiply_step(unsigned stage, int left, int output, int row, WarpTile& sum) {
  const int matrix = int(threadIdx.x) % 32 / 8, r = int(threadIdx.x) % 8;
  const unsigned rows = stage + kStepWords * kMmaOutputs * 16;
#pragma unroll
  for (int j = 0; j < kStepWords / 2; ++j) {
    if (2 * j >= left) break;
    std::uint32_t a[2][4], b[2][4];
#pragma unroll
    for (int i = 0; i < 2; ++i) {  // matrices: (word 0 outputs 0-7, 8-15), (word 1 the same)
      const int word = 2 * j + matrix / 2, column = output + 16 * i + matrix % 2 * 8 + r;
      load_matrices(a[i], stage + unsigned(word * kMmaOutputs + column) * 16);
    }
#pragma unroll
    for (int i = 0; i < 2; ++i) {  // matrices: (rows 0-7 word 0, word 1), (rows 8-15 the same)
      const int word = 2 * j + matrix % 2, column = row + 16 * i + matrix / 2 * 8 + r;
      load_matrices(b[i], rows + unsigned(word * kMmaRows + column) * 16);
    }
#pragma unroll
    for (int i = 0; i < 2; ++i) {
#pragma unroll
      for (int q = 0; q < 4; ++q)
        mma<W>(sum.c[i][q], a[i], b[q / 2][q % 2 * 2], b[q / 2][q % 2 * 2 + 1]);
    }
  }
}

/// The neighbour tree as a binary counter: level l keeps the sum of 2^l segments until its right
/// neighbour is there. After the last segment `sum` is the tree's.
template <int kLevels>
__device__ inline void carry(int segment, WarpTile (&level)[kLevels], WarpTile& sum) {
#pragma unroll
  for (int l = 0; l < kLevels; ++l) {
    const bool adds = (segment >> l) % 2 != 0;
#pragma unroll
    for (int i = 0; i < 32; ++i) {
      float& kept = level[l].c[i / 16][i / 4 % 4][i % 4];
      float& c = sum.c[i / 16][i / 4 % 4][i % 4];
      if (adds) {
        c = kept + c;
      } else {
        kept = c;
      }
    }
    if (!adds) return;
  }
}

template <class W, int kLevels>
__global__ void __launch_bounds__(kMmaThreads, 1) mma_tile_kernel(MmaCall call) {
  __shared__ uint4 ring[kStages][kStageWords];
  const int lane = int(threadIdx.x) % 32, warp = int(threadIdx.x) / 32;
  const int output = warp % 2 * 32, row = warp / 2 * 32;  // of the warp, in the tile
  const std::int64_t n0 = std::int64_t(blockIdx.x) * kMmaOutputs;
  const std::int64_t row0 = std::int64_t(blockIdx.y) * kMmaRows;
  const auto stage = [&](int i) { return shared_address(ring[i % kStages]); };
  Step ahead(call.w);
  int loaded = 0;
  for (; loaded < kStages - 1; ++loaded) {
    load_step(call, stage(loaded), ahead, n0, row0);
    if (ahead.segment < call.w.segments) ahead.advance(call.w);
  }
  WarpTile sum = {}, level[kLevels];
  for (Step at(call.w); at.segment < call.w.segments; at.advance(call.w), ++loaded) {
    wait_for_copies<kStages - 2>();
    __syncthreads();  // the step is here, and the stage before it free
    load_step(call, stage(loaded), ahead, n0, row0);
    if (ahead.segment < call.w.segments) ahead.advance(call.w);
    multiply_step<W>(stage(loaded + 1), at.left, output, row, sum);
    if (!at.last()) continue;
    carry(at.segment, level, sum);
    if (at.segment + 1 < call.w.segments) sum = {};
  }
#pragma unroll
  for (int i = 0; i < 32; ++i) {
    const std::int64_t n = n0 + output + i / 16 * 16 + i % 4 / 2 * 8 + lane / 4;
    const std::int64_t to = row0 + row + i / 4 % 4 * 8 + lane % 4 * 2 + i % 2;
    if (n < call.w.n && to < call.rows) {
      call.out[to * call.out_stride + n] = canonical(sum.c[i / 16][i / 4 % 4][i % 4]);
    }
  }
}

// ---- launches

/// f with the tag of a 16-bit element.
template <class F>
void with_half(Format element, F&& f) {
  ISOBIT_CHECK(element == Format::bf16 || element == Format::fp16);
  if (element == Format::bf16) {
    f(Bf16{});
  } else {
    f(Fp16{});
  }
}

template <class W, int kWide, int kDeep, int kThreads>
void launch_rows(cudaStream_t stream, const MmaCall& call) {
  const dim3 grid(unsigned((call.w.n + 16 * kWide - 1) / (16 * kWide)),
                  unsigned((call.rows + 8 * kDeep - 1) / (8 * kDeep)));
  const std::size_t shared = std::size_t(call.w.segments) * kWide * kDeep * 4 * 32 * sizeof(float);
  mma_rows_kernel<W, kWide, kDeep, kThreads>
      <<<grid, dim3(32, unsigned(call.w.segments)), shared, stream>>>(call);
  check_launch("gemm_tensor rows");
}

template <class W>
void start_rows(cudaStream_t stream, const MmaCall& call) {
  if (call.w.segments > 8) return launch_rows<W, 1, 1, 1024>(stream, call);
  // Enough warps first, then more outputs a warp: what it reads of x serves them all.
  const bool many = call.w.n >= 8192;
  if (call.rows <= 8) {
    return many ? launch_rows<W, 2, 1, 256>(stream, call) : launch_rows<W, 1, 1, 256>(stream, call);
  }
  if (call.rows <= 16) return launch_rows<W, 2, 2, 256>(stream, call);
  launch_rows<W, 2, 4, 256>(stream, call);
}

template <class W>
void start_tiles(cudaStream_t stream, const MmaCall& call) {
  const dim3 grid(unsigned((call.w.n + kMmaOutputs - 1) / kMmaOutputs),
                  unsigned((call.rows + kMmaRows - 1) / kMmaRows));
  if (call.w.segments > 8) {
    mma_tile_kernel<W, 5><<<grid, kMmaThreads, 0, stream>>>(call);
  } else {
    mma_tile_kernel<W, 3><<<grid, kMmaThreads, 0, stream>>>(call);
  }
  check_launch("gemm_tensor tiles");
}

}  // namespace

const char* tensor_gemm_literal(const GemmCall& call, const TensorUnit& unit) {
  ISOBIT_CHECK(!call.wide && call.w.segments > 0);
  if (call.rows * call.w.n == 0) return "none";
  const int lanes = kLiteralThreads / call.w.segments;
  const dim3 grid(unsigned((call.w.n + lanes - 1) / lanes),
                  unsigned(std::min(call.rows, kMostBlocks)));
  const dim3 block(unsigned(lanes), unsigned(call.w.segments));
  with_types(false, call.w.element, [&]<class T, class W>(T, W) {
    literal_kernel<W><<<grid, block, 0, call.stream>>>(call, unit);
  });
  check_launch("gemm_tensor literal");
  return "literal";
}

std::size_t tensor_words_bytes(const GemmCall& call) {
  return std::size_t(call.w.words[call.w.segments] * call.rows) * sizeof(uint4);
}

void tensor_words(const GemmCall& call, void* to) {
  ISOBIT_CHECK(!call.wide && call.w.segments > 0);
  const std::int64_t all = call.w.words[call.w.segments] * call.rows;
  if (all == 0) return;
  with_half(call.w.element, [&]<class W>(W) {
    words_kernel<W><<<unsigned((all + 255) / 256), 256, 0, call.stream>>>(
        static_cast<const float*>(call.x), call.x_stride, call.rows, call.w,
        static_cast<uint4*>(to));
  });
  check_launch("gemm_tensor words");
}

/// Tiles where there are rows to fill them and enough of them for half of the GPU.
MmaShape mma_shape(const GemmCall& call, int multiprocessors) {
  const std::int64_t tiles =
      (call.w.n + kMmaOutputs - 1) / kMmaOutputs * ((call.rows + kMmaRows - 1) / kMmaRows);
  return call.rows > 64 && 2 * tiles >= multiprocessors ? MmaShape::tile : MmaShape::rows;
}

const char* tensor_gemm_mma(const GemmCall& call, const void* x_words, MmaShape shape) {
  ISOBIT_CHECK(!call.wide && call.w.segments > 0);
  if (call.rows * call.w.n == 0) return "none";
  const MmaCall args{static_cast<const uint4*>(x_words), call.rows, call.w,
                     static_cast<float*>(call.out), call.out_stride};
  const bool tile = shape == MmaShape::tile;
  with_half(call.w.element, [&]<class W>(W) {
    tile ? start_tiles<W>(call.stream, args) : start_rows<W>(call.stream, args);
  });
  return tile ? "mma.sync m16n8k16 (tiles)" : "mma.sync m16n8k16 (rows)";
}

}  // namespace isobit::cuda
