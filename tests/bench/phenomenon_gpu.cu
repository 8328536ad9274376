// The phenomenon on the shapes of an 8B model's layers: how many rows of a product change their
// bits when more rows are computed together, for cublasLt's own choice and for the reference.
//
// Row r is multiplied alone (M = 1) for every r, then as one of M rows; synthetic data over 12
// binades. Prints one line a number of rows, with cublasLt's configuration, and one line a shape.
// Usage: phenomenon_gpu [bf16] [fp16] [fp32] [tf32]      nothing: bf16, fp16 and fp32
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "runtime/backends/cuda/device/device.h"
#include "runtime/backends/cuda/vendor/cublaslt.h"
#include "runtime/numerics/bits.h"

namespace isobit::cuda {
namespace {

constexpr std::int64_t kRows[] = {1, 2, 4, 8, 16, 32, 48, 64, 96, 128, 256, 512, 1024, 2048};
constexpr std::int64_t kMostRows = 2048;

struct Kind {
  const char* name;
  Precision precision;
  int element;  // cudaDataType
  int compute;
};
constexpr Kind kKinds[] = {{"bf16", Precision::bf16, kReal16b, kCompute32},
                           {"fp16", Precision::fp16, kReal16, kCompute32},
                           {"fp32", Precision::fp32, kReal32, kCompute32},
                           {"tf32", Precision::tf32, kReal32, kComputeTf32}};

/// Element i of an array, exact in every element type: 8 significant bits at 12 exponents, so that
/// sums of products round. (Multiples of one power of two would add up exactly, in any order.)
__host__ __device__ float number(std::uint64_t i, std::uint32_t seed) {
  std::uint64_t h = (i + 1) * 0x9e3779b97f4a7c15ull + seed;
  h = (h ^ (h >> 30)) * 0xbf58476d1ce4e5b9ull;
  h = (h ^ (h >> 27)) * 0x94d049bb133111ebull;
  const auto sign = std::uint32_t(h >> 63) << 31;
  const auto exponent = std::uint32_t(127 - (h >> 40) % 12) << 23;
  return float_of(sign | exponent | std::uint32_t(h >> 20 & 0x7f) << 16);
}

/// Whether the order of addition matters to this data at all: a check of the check.
bool order_matters(std::int64_t k) {
  for (std::int64_t n = 0; n < 64; ++n) {
    float up = 0, down = 0;
    for (std::int64_t i = 0; i < k; ++i) {
      const std::int64_t j = k - 1 - i;
      up += number(std::uint64_t(n * k + i), 1) * number(std::uint64_t(i), 2);
      down += number(std::uint64_t(n * k + j), 1) * number(std::uint64_t(j), 2);
    }
    if (std::memcmp(&up, &down, 4) != 0) return true;
  }
  return false;
}

__global__ void fill(void* to, int element, std::uint64_t n, std::uint32_t seed) {
  const std::uint64_t step = std::uint64_t(gridDim.x) * blockDim.x;
  for (std::uint64_t i = std::uint64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < n; i += step) {
    const float x = number(i, seed);
    if (element == kReal16b) static_cast<__nv_bfloat16*>(to)[i] = __float2bfloat16_rn(x);
    if (element == kReal16) static_cast<__half*>(to)[i] = __float2half_rn(x);
    if (element == kReal32) static_cast<float*>(to)[i] = x;
  }
}

/// Device memory of one owner.
struct Memory {
  explicit Memory(std::size_t bytes) : data(static_cast<char*>(take_memory(bytes))) {}
  ~Memory() { cudaFree(data); }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  char* data;
};

/// Rows [first, first + count) of x times the weights, to `out` (count, n) fp32 on the GPU.
using Multiply = std::function<void(std::int64_t first, std::int64_t count, float* out)>;
/// Words for a number of rows, or "".
using Describe = std::function<std::string(std::int64_t count)>;

std::int64_t ulps(float a, float b) {
  std::int32_t x, y;
  std::memcpy(&x, &a, 4);
  std::memcpy(&y, &b, 4);
  const auto place = [](std::int32_t bits) {
    return bits < 0 ? -std::int64_t(bits & 0x7fffffff) : std::int64_t(bits);
  };
  return std::abs(place(x) - place(y));
}

/// Gives how many rows changed over all numbers of rows.
std::int64_t compare_rows(const std::string& label, std::int64_t n, cudaStream_t stream,
                          const Multiply& multiply, const Describe& describe) {
  const Memory device(std::size_t(kMostRows * n) * 4);
  auto* out = reinterpret_cast<float*>(device.data);
  std::vector<float> alone(std::size_t(kMostRows * n)), together(alone.size());
  for (std::int64_t r = 0; r < kMostRows; ++r) multiply(r, 1, out + r * n);
  check(cudaStreamSynchronize(stream), "rows alone");
  check(cudaMemcpy(alone.data(), out, alone.size() * 4, cudaMemcpyDeviceToHost), "download");
  std::int64_t changed = 0;
  for (const std::int64_t m : kRows) {
    check(cudaMemset(out, 0xff, std::size_t(m * n) * 4), "memset");
    check(cudaDeviceSynchronize(), "memset");
    multiply(0, m, out);
    check(cudaStreamSynchronize(stream), "rows together");
    check(cudaMemcpy(together.data(), out, std::size_t(m * n) * 4, cudaMemcpyDeviceToHost),
          "download");
    std::int64_t rows = 0, elements = 0, most = 0;
    for (std::int64_t r = 0; r < m; ++r) {
      const float *a = alone.data() + r * n, *b = together.data() + r * n;
      if (std::memcmp(a, b, std::size_t(n) * 4) == 0) continue;
      ++rows;
      for (std::int64_t i = 0; i < n; ++i) {
        if (std::memcmp(a + i, b + i, 4) == 0) continue;
        ++elements;
        most = std::max(most, ulps(a[i], b[i]));
      }
    }
    changed += rows;
    std::printf("%s M %4ld: %4ld rows differ from M=1, %5.1f %% of elements, max %ld ulp%s%s\n",
                label.c_str(), long(m), long(rows), 100.0 * double(elements) / double(m * n),
                long(most), describe ? "; " : "", describe ? describe(m).c_str() : "");
    std::fflush(stdout);
  }
  return changed;
}

void library(const LtCalls& calls, const Kind& kind, std::int64_t n, std::int64_t k) {
  const std::int64_t size = kind.element == kReal32 ? 4 : 2;
  const Memory w(std::size_t(n * k * size)), x(std::size_t(kMostRows * k * size));
  const Memory workspace(kVendorWorkspace);
  cudaStream_t stream;
  check(cudaStreamCreate(&stream), "stream");
  fill<<<2048, 256, 0, stream>>>(w.data, kind.element, std::uint64_t(n * k), 1);
  fill<<<2048, 256, 0, stream>>>(x.data, kind.element, std::uint64_t(kMostRows * k), 2);
  check_launch("fill");
  VendorChoice choice;
  choice.lt = true;
  LtProducts products(calls, choice, {kind.element, kReal32, kind.compute}, workspace.data, stream);
  const auto product = [&](std::int64_t first, std::int64_t count, float* out) {
    return LtProduct{n, count, k, w.data, x.data + first * k * size, k, out, n};
  };
  const std::string shape = "N " + std::to_string(n) + " K " + std::to_string(k);
  const std::string label = "cublaslt " + std::string(kind.name) + " " + shape;
  float* const aligned = reinterpret_cast<float*>(workspace.data);  // for its address only
  const std::int64_t changed = compare_rows(
      label, n, stream,
      [&](std::int64_t first, std::int64_t count, float* out) {
        products.run(product(first, count, out));
      },
      [&](std::int64_t count) { return products.configuration(product(0, count, aligned)); });
  std::printf("%s: %ld rows changed in all; %s\n\n", label.c_str(), long(changed),
              products.seen().c_str());
  check(cudaStreamDestroy(stream), "stream");
}

/// The same data through the engine `reference` of this build.
std::int64_t reference(const Kind& kind, std::int64_t n, std::int64_t k) {
  BackendOptions options;
  options.device = "cuda";
  auto made = make_backend(options, mode_of(kind.precision));
  if (!made) throw BackendError(made.error().text());
  Backend& backend = **made;
  MatrixSource source;
  source.outputs = n;
  source.inputs = k;
  for (int s = 0; s <= 8; ++s) source.bounds.push_back(k * s / 8);
  source.format = mode_of(kind.precision).matrix;
  source.read = [&](std::int64_t row, std::span<float> to) {
    for (std::int64_t i = 0; i < k; ++i) to[std::size_t(i)] = number(std::uint64_t(row * k + i), 1);
  };
  source.amax = [](std::int64_t) { return 1.0f; };
  const auto w = backend.load_matrix(source);
  std::vector<float> values(std::size_t(kMostRows * k));
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = number(i, 2);
  const Memory x(values.size() * 4);
  backend.upload(x.data, values.data(), values.size() * 4);
  const std::string label =
      "reference " + std::string(kind.name) + " N " + std::to_string(n) + " K " + std::to_string(k);
  float done = 0;
  const std::int64_t changed =
      compare_rows(label, n, nullptr,
                   [&](std::int64_t first, std::int64_t count, float* out) {
                     backend.gemm({x.data + first * k * 4, count, k, k}, *w, {out, count, n, n});
                     backend.download(&done, out, 4);  // waits
                   },
                   {});
  std::printf("%s: %ld rows changed in all; %s\n\n", label.c_str(), long(changed),
              backend.describe().kernels.c_str());
  return changed;
}

int run(int argc, char** argv) {
  const auto gpu = gpu_of_rank(0);
  if (!gpu) {
    std::printf("skipped: %s\n", gpu.error().text().c_str());
    return 77;
  }
  const auto lt = load_cublaslt();
  if (!lt) {
    std::printf("skipped: %s\n", lt.error().text().c_str());
    return 77;
  }
  std::printf("%s sm_%d, cublasLt %zu\n\n", gpu->name.c_str(), gpu->capability,
              (*lt)->calls.version());
  if (!order_matters(4096)) throw BackendError("the data adds up exactly in any order");
  std::int64_t broken = 0;
  for (const Kind& kind : kKinds) {
    const bool named = std::any_of(
        argv + 1, argv + argc, [&](const char* word) { return std::strcmp(word, kind.name) == 0; });
    if (!named && (argc > 1 || kind.precision == Precision::tf32)) continue;
    for (const auto& [n, k] : {std::pair<std::int64_t, std::int64_t>{1024, 4096},
                               {4096, 4096},
                               {14336, 4096},
                               {4096, 14336}}) {
      library((*lt)->calls, kind, n, k);
      if (n == 1024) broken += reference(kind, n, k);
    }
  }
  if (broken > 0) std::printf("the reference's rows changed: this is a bug\n");
  return broken > 0 ? 1 : 0;
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
