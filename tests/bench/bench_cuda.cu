// Speed of the CUDA reference kernels beside cuBLAS's and the chip's own limits, in one run: GEMM
// at the shapes of an 8B model (synthetic weights), attention decode, digests and best entries.
//
// Both sides run as CUDA graphs over at least four times the L2 cache of different data. The
// cuBLAS side is the best of its first 16 heuristics: bf16, fp32 accumulation, 32 MiB workspace.
// Usage: bench_cuda [gemm] [prefill] [attention] [digest]      nothing: all; limits always
#include <cublasLt.h>
#include <cuda_runtime.h>
#include <dlfcn.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "runtime/backends/cuda/backend.h"

namespace isobit::cuda {
namespace {

constexpr std::size_t kRotate = std::size_t(256) << 20;  // bytes, over 4 x the H200's 60 MB
constexpr std::size_t kLtWorkspace = std::size_t(32) << 20;

/// Seconds of one call, best of five graphs of `count` calls; call(i, stream).
template <class F>
double seconds_of(int count, F&& call) {
  cudaStream_t stream;
  check(cudaStreamCreate(&stream), "stream");
  cudaGraph_t graph;
  cudaGraphExec_t exec;
  check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed), "capture");
  for (int i = 0; i < count; ++i) call(i, stream);
  check(cudaStreamEndCapture(stream, &graph), "capture");
  check(cudaGraphInstantiate(&exec, graph, 0), "instantiate");
  cudaEvent_t begin, end;
  check(cudaEventCreate(&begin), "event");
  check(cudaEventCreate(&end), "event");
  double best = 1e9;
  for (int round = 0; round < 6; ++round) {
    check(cudaEventRecord(begin, stream), "record");
    check(cudaGraphLaunch(exec, stream), "launch");
    check(cudaEventRecord(end, stream), "record");
    check(cudaStreamSynchronize(stream), "run");
    float ms = 0;
    check(cudaEventElapsedTime(&ms, begin, end), "time");
    if (round > 0) best = std::min(best, double(ms) * 1e-3 / count);
  }
  cudaGraphExecDestroy(exec);
  cudaGraphDestroy(graph);
  cudaStreamDestroy(stream);
  return best;
}

void* device(std::size_t bytes, unsigned char fill = 0x3c) {
  void* p = nullptr;
  check(cudaMalloc(&p, bytes), "malloc");
  check(cudaMemset(p, fill, bytes), "memset");
  return p;
}

/// Random words that are ordinary bf16 pairs: |x| in [2^-15, 1).
__global__ void random_bf16(std::uint32_t* x, std::size_t words, std::uint32_t seed) {
  const std::size_t step = std::size_t(gridDim.x) * blockDim.x;
  for (std::size_t i = std::size_t(blockIdx.x) * blockDim.x + threadIdx.x; i < words; i += step) {
    std::uint32_t h = std::uint32_t(i) * 2654435761u + seed;
    h ^= h >> 15;
    h *= 2246822519u;
    h ^= h >> 13;
    x[i] = (h & 0x87ff87ffu) | 0x38003800u;
  }
}
__global__ void random_f32(float* x, std::size_t n) {
  const std::size_t i = std::size_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < n) x[i] = __uint_as_float(((std::uint32_t(i) * 2654435761u) & 0x87ff0000u) | 0x38000000u);
}

/// Nothing but fp32 FMA in registers: 16 chains a thread.
__global__ void __launch_bounds__(512) fma_kernel(float* out, int rounds, float a, float b) {
  float acc[16];
  for (int i = 0; i < 16; ++i) acc[i] = float(threadIdx.x + unsigned(i));
  for (int r = 0; r < rounds; ++r) {
#pragma unroll
    for (int u = 0; u < 128; ++u) acc[u % 16] = __fmaf_rn(acc[u % 16], a, b);
  }
  float sum = 0;
  for (const float x : acc) sum += x;
  if (sum == 1.25f) *out = sum;
}

/// Reads `words`, and writes them to `to` unless it is null: eight words of a thread are under way.
__global__ void __launch_bounds__(256)
    stream_words(const uint4* from, uint4* to, std::size_t words, std::uint32_t* out) {
  constexpr int kAhead = 8;
  const std::size_t step = std::size_t(gridDim.x) * blockDim.x;
  std::uint32_t all = 0;
  for (std::size_t i = std::size_t(blockIdx.x) * blockDim.x + threadIdx.x;
       i + (kAhead - 1) * step < words; i += kAhead * step) {
    uint4 v[kAhead];
#pragma unroll
    for (int u = 0; u < kAhead; ++u) v[u] = __ldcs(from + i + std::size_t(u) * step);
#pragma unroll
    for (int u = 0; u < kAhead; ++u) {
      if (to != nullptr) __stcs(to + i + std::size_t(u) * step, v[u]);
      all ^= v[u].x ^ v[u].y ^ v[u].z ^ v[u].w;
    }
  }
  if (to == nullptr && all == 1) *out = all;
}

/// What the chip does at most, a second: fp32 FMA, bytes copied (read and written), bytes read.
struct Limits {
  double flops = 0, copied = 0, read = 0;
};
Limits measure_limits(int multiprocessors) {
  constexpr int kRounds = 4000, kThreads = 512;
  constexpr std::size_t kBytes = std::size_t(2) << 30;
  void *from = device(kBytes), *to = device(kBytes);
  const unsigned blocks = unsigned(multiprocessors) * 4;
  const double fma = seconds_of(1, [&](int, cudaStream_t stream) {
    fma_kernel<<<blocks, kThreads, 0, stream>>>(static_cast<float*>(to), kRounds, 0.999f, 0.001f);
  });
  const std::size_t round = std::size_t(blocks) * 2 * 256 * 8;  // words
  const std::size_t words = kBytes / sizeof(uint4) / round * round;
  const auto rate = [&](bool copy) {
    const double seconds = seconds_of(1, [&](int, cudaStream_t stream) {
      stream_words<<<blocks * 2, 256, 0, stream>>>(static_cast<uint4*>(from),
                                                   copy ? static_cast<uint4*>(to) : nullptr, words,
                                                   static_cast<std::uint32_t*>(to));
    });
    return double(words * sizeof(uint4)) * (copy ? 2 : 1) / seconds;
  };
  const Limits limits{double(blocks) * kThreads * kRounds * 128 * 2 / fma, rate(true), rate(false)};
  cudaFree(from);
  cudaFree(to);
  std::printf("limits: fp32 FMA %.2f TFLOP/s, copy %.0f GB/s (read and written), read %.0f GB/s\n",
              limits.flops * 1e-12, limits.copied * 1e-9, limits.read * 1e-9);
  return limits;
}

struct Lt {
  void* handle = dlopen("libcublasLt.so.13", RTLD_NOW | RTLD_LOCAL);
  cublasLtHandle_t lt = nullptr;
  template <class F>
  F* get(const char* name) const {
    return reinterpret_cast<F*>(dlsym(handle, name));
  }
  Lt() {
    if (handle == nullptr) return;
    if (get<decltype(cublasLtCreate)>("cublasLtCreate")(&lt) != 0) lt = nullptr;
  }

  /// Seconds of bf16 (rows, k) x (n, k)^T; 0 without the library.
  double gemm(std::int64_t m, std::int64_t n, std::int64_t k, int copies, char* w, void* x,
              void* out, void* workspace) const {
    if (lt == nullptr) return 0;
    cublasLtMatmulDesc_t op;
    get<decltype(cublasLtMatmulDescCreate)>("cublasLtMatmulDescCreate")(&op, CUBLAS_COMPUTE_32F,
                                                                        CUDA_R_32F);
    const cublasOperation_t t = CUBLAS_OP_T;
    get<decltype(cublasLtMatmulDescSetAttribute)>("cublasLtMatmulDescSetAttribute")(
        op, CUBLASLT_MATMUL_DESC_TRANSA, &t, sizeof(t));
    const auto layout = [&](std::int64_t rows, std::int64_t cols) {
      cublasLtMatrixLayout_t l;
      get<decltype(cublasLtMatrixLayoutCreate)>("cublasLtMatrixLayoutCreate")(
          &l, CUDA_R_16BF, std::uint64_t(rows), std::uint64_t(cols), rows);
      return l;
    };
    const auto a = layout(k, n), b = layout(k, m), c = layout(n, m);
    cublasLtMatmulPreference_t preference;
    get<decltype(cublasLtMatmulPreferenceCreate)>("cublasLtMatmulPreferenceCreate")(&preference);
    get<decltype(cublasLtMatmulPreferenceSetAttribute)>("cublasLtMatmulPreferenceSetAttribute")(
        preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &kLtWorkspace, sizeof(kLtWorkspace));
    cublasLtMatmulHeuristicResult_t results[16];
    int found = 0;
    get<decltype(cublasLtMatmulAlgoGetHeuristic)>("cublasLtMatmulAlgoGetHeuristic")(
        lt, op, a, b, c, c, preference, 16, results, &found);
    const float one = 1, zero = 0;
    double best = 0;
    for (int i = 0; i < found; ++i) {
      bool ok = true;
      const double seconds = seconds_of(copies, [&](int j, cudaStream_t stream) {
        ok = ok && get<decltype(cublasLtMatmul)>("cublasLtMatmul")(
                       lt, op, &one, w + std::size_t(j) * std::size_t(n * k) * 2, a, x, b, &zero,
                       out, c, out, c, &results[i].algo, workspace, kLtWorkspace, stream) == 0;
      });
      if (ok && (best == 0 || seconds < best)) best = seconds;
    }
    return best;
  }
};

WeightView view_of(std::int64_t n, std::int64_t k, const void* data) {
  WeightView w;
  w.data = data;
  w.element = Format::bf16;
  w.n = n;
  w.k = k;
  w.segments = 8;
  for (int s = 0; s <= 8; ++s) {
    w.bounds[s] = k * s / 8;
    w.words[s] = w.bounds[s] / 8;
  }
  return w;
}

struct GemmBench {
  std::int64_t n, k;
  int copies = int(std::max<std::size_t>(4, kRotate / std::size_t(n * k * 2) + 1));
  char* w = static_cast<char*>(device(std::size_t(copies) * std::size_t(n * k) * 2));
  GemmBench(std::int64_t outputs, std::int64_t inputs) : n(outputs), k(inputs) {
    random_bf16<<<4096, 256>>>(reinterpret_cast<std::uint32_t*>(w),
                               std::size_t(copies) * std::size_t(n * k) / 2, 1);
  }
  ~GemmBench() { cudaFree(w); }

  void run(const Lt& lt, const Limits& limits, std::int64_t m) {
    void* x = device(std::size_t(m * k) * 4);
    random_f32<<<unsigned((m * k + 255) / 256), 256>>>(static_cast<float*>(x), std::size_t(m * k));
    void* x16 = device(std::size_t(m * k) * 2);
    random_bf16<<<256, 256>>>(static_cast<std::uint32_t*>(x16), std::size_t(m * k) / 2, 7);
    void* out = device(std::size_t(m * n) * 4);
    GemmCall call{nullptr, false, x, k, m, view_of(n, k, w), out, n};
    void* workspace = device(std::max(kLtWorkspace, gemm_tile_bytes(call)));
    const int count = m > 256 ? 4 : copies;
    const double ours = seconds_of(count, [&](int i, cudaStream_t stream) {
      call.stream = stream;
      call.w.data = w + std::size_t(i) * std::size_t(n * k) * 2;
      m < kTileRows ? gemm_rows(call) : gemm_tile(call, workspace);
    });
    const double theirs = lt.gemm(m, n, k, count, w, x16, out, workspace);
    const double bytes = double(n * k) * 2, flops = 2.0 * double(m) * double(n) * double(k);
    std::printf(
        "gemm M %4ld N %5ld K %5ld: %7.1f us %5.0f GB/s %5.2f TFLOP/s (%2.0f %% of FMA) | cublasLt "
        "%7.1f us %5.0f GB/s %6.2f TFLOP/s | ratio %.3f\n",
        long(m), long(n), long(k), ours * 1e6, bytes / ours * 1e-9, flops / ours * 1e-12,
        flops / ours / limits.flops * 100, theirs * 1e6, bytes / theirs * 1e-9,
        flops / theirs * 1e-12, theirs / ours);
    std::fflush(stdout);
    for (void* p : {x, x16, out, workspace}) cudaFree(p);
  }
};

void bench_attention(const Limits& limits, std::int64_t batch, std::int64_t context, Format cache) {
  const std::int64_t heads = 32, kv = 8, d = 128, page = 256, pages = context / page;
  const PageShape shape = page_shape(kv, d, page);
  const std::size_t pool =  // bytes
      std::size_t(batch * pages * shape.k_page) * std::size_t(field_bytes(cache));
  const int copies = int(kRotate / (pool * 2) + 2);
  const std::size_t all = pool * std::size_t(copies) / 4;
  auto* k = static_cast<float*>(device(all * 4));
  auto* v = static_cast<float*>(device(all * 4));
  random_f32<<<unsigned((all + 255) / 256), 256>>>(k, all);
  random_f32<<<unsigned((all + 255) / 256), 256>>>(v, all);
  void* q = device(std::size_t(batch * heads * d) * 4);
  void* out = device(std::size_t(batch * heads * d) * 4);
  std::vector<QueryRow> rows;
  std::vector<std::int32_t> tables, head_begin;
  for (std::int64_t r = 0; r < batch; ++r) {
    rows.push_back({0, std::int32_t(context - 1), r * pages, -1});
    for (std::int64_t p = 0; p < pages; ++p) tables.push_back(std::int32_t(r * pages + p));
  }
  for (std::int64_t h = 0; h <= kv; ++h) head_begin.push_back(std::int32_t(h * heads / kv));
  const auto send = [](const auto& array) {
    void* to = device(array.size() * sizeof(array[0]));
    cudaMemcpy(to, array.data(), array.size() * sizeof(array[0]), cudaMemcpyHostToDevice);
    return to;
  };
  AttentionCall call{};
  call.q = q;
  call.out = out;
  call.q_stride = call.out_stride = heads * d;
  call.rows = static_cast<QueryRow*>(send(rows));
  call.row_count = batch;
  call.tables = static_cast<std::int32_t*>(send(tables));
  call.head_begin = static_cast<std::int32_t*>(send(head_begin));
  call.heads = heads;
  call.kv_heads = kv;
  call.d = int(d);
  call.scale = 0.088388347648318447;
  call.page_size = page;
  call.shape = shape;
  call.cache = cache;
  call.stored = Format::bf16;
  call.max_splits = std::int32_t((context + 255) / 256);
  call.workspace = device(attention_bytes(false, batch, heads, int(d), call.max_splits));
  const double seconds = seconds_of(copies, [&](int i, cudaStream_t stream) {
    call.stream = stream;
    call.k_pool = k + std::size_t(i) * pool / 4;
    call.v_pool = v + std::size_t(i) * pool / 4;
    attention(call);
  });
  const double rate = 2.0 * double(pool) / seconds;
  std::printf(
      "attention decode batch %ld context %ld, %s: %7.1f us %5.0f GB/s of K and V, %.0f %% of the "
      "copy, "
      "%.0f %% of the read\n",
      long(batch), long(context), cache == Format::f32 ? "fp32" : "bf16", seconds * 1e6,
      rate * 1e-9, rate / limits.copied * 100, rate / limits.read * 100);
  for (const void* p :
       {static_cast<const void*>(k), static_cast<const void*>(v), static_cast<const void*>(q),
        static_cast<const void*>(out), static_cast<const void*>(call.rows),
        static_cast<const void*>(call.tables), static_cast<const void*>(call.head_begin),
        static_cast<const void*>(call.workspace)}) {
    cudaFree(const_cast<void*>(p));
  }
}

/// Over rows in rotation, so that no launch finds its row in the L2 cache.
void bench_digest(std::int64_t rows, std::int64_t cols) {
  constexpr int kSlices = 64, kCount = 2;
  const std::size_t each = std::size_t(rows * cols);
  const int copies = int(kRotate / (each * 4) + 1);
  auto* x = static_cast<float*>(device(each * std::size_t(copies) * 4));
  const std::size_t all = each * std::size_t(copies);
  random_f32<<<unsigned((all + 255) / 256), 256>>>(x, all);
  void* out = device(std::size_t(rows) * 128);
  const std::size_t entries = std::size_t(rows) * kSlices * kCount;
  auto* values = static_cast<double*>(device(entries * 8));
  auto* ids = static_cast<std::int32_t*>(device(entries * 4));
  auto* flags = static_cast<std::int32_t*>(device(std::size_t(rows) * kSlices * 4));
  const double digest = seconds_of(copies, [&](int i, cudaStream_t stream) {
    digests(stream, false, x + std::size_t(i) * each, cols, rows, cols, out);
  });
  const double top = seconds_of(copies, [&](int i, cudaStream_t stream) {
    top_entries(stream, false, x + std::size_t(i) * each, cols, rows, cols, kCount, kSlices, values,
                ids, flags);
  });
  std::printf("digest of %ld rows of %ld: %.1f us; best %d entries of each: %.1f us\n", long(rows),
              long(cols), digest * 1e6, kCount, top * 1e6);
  for (void* p : {static_cast<void*>(x), out, static_cast<void*>(values), static_cast<void*>(ids),
                  static_cast<void*>(flags)}) {
    cudaFree(p);
  }
}

int run(int argc, char** argv) {
  const auto asked = [&](const char* name) {
    return argc < 2 || std::any_of(argv + 1, argv + argc,
                                   [&](const char* a) { return std::strcmp(a, name) == 0; });
  };
  const auto gpu = gpu_of_rank(0);
  if (!gpu) {
    std::printf("skipped: %s\n", gpu.error().text().c_str());
    return 77;
  }
  std::printf("%s sm_%d\n", gpu->name.c_str(), gpu->capability);
  const Lt lt;
  if (lt.lt == nullptr) std::printf("no cublasLt: %s\n", dlerror());
  const Limits limits = measure_limits(gpu->multiprocessors);
  for (const auto& [n, k] : {std::pair<int, int>{4096, 4096},
                             {1024, 4096},
                             {14336, 4096},
                             {4096, 14336},
                             {6144, 4096},
                             {28672, 4096}}) {
    if (!asked("gemm") && !asked("prefill")) break;
    GemmBench bench(n, k);
    for (const int m : {1, 2, 4, 8, 16, 32}) {
      if (asked("gemm")) bench.run(lt, limits, m);
    }
    for (const int m : {64, 2048}) {
      if (asked("prefill")) bench.run(lt, limits, m);
    }
  }
  if (asked("attention")) {
    for (const Format cache : {Format::f32, Format::bf16}) {
      bench_attention(limits, 1, 8192, cache);
      bench_attention(limits, 8, 8192, cache);
      bench_attention(limits, 64, 1024, cache);
    }
  }
  for (const int rows : {1, 8, 64}) {
    if (asked("digest")) bench_digest(rows, 128256);
  }
  return 0;
}

}  // namespace
}  // namespace isobit::cuda

int main(int argc, char** argv) {
  try {
    return isobit::cuda::run(argc, argv);
  } catch (const std::exception& error) {
    std::printf("failed: %s\n", error.what());
    return 1;
  }
}
