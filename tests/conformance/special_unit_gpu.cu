// Kernels of special_unit_gpu.h: a thread compares every so many-th input.
#include <cuda_runtime.h>

#include <algorithm>

#include "runtime/numerics/cuda_functions.h"
#include "tests/conformance/special_unit_gpu.h"

namespace isobit::cuda_test {
namespace {

constexpr unsigned kBlocks = 1056, kThreads = 256;

__constant__ SpecialTables tables = kHopperTables;

struct Found {
  unsigned long long compared, different;
  SpecialDifference differences[kMostSpecialDifferences];
};

template <SpecialFunction f>
__device__ bool is_spoken_of(std::uint32_t bits) {
  if constexpr (f == SpecialFunction::cos || f == SpecialFunction::sin) {
    return (bits & 0x7fffffffu) < bits_of(kLargestCudaAngle);
  }
  if constexpr (f == SpecialFunction::log) return bits >= 0x00800000u && bits < 0x7f800000u;
  return true;
}

template <SpecialFunction f>
__device__ float of_chip(float x) {
  float y = 0;
  if constexpr (f == SpecialFunction::ex2) asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  if constexpr (f == SpecialFunction::rcp) asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  if constexpr (f == SpecialFunction::rsqrt) {
    asm("rsqrt.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  }
  if constexpr (f == SpecialFunction::lg2) asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  if constexpr (f == SpecialFunction::exp) y = expf(x);
  if constexpr (f == SpecialFunction::cos) y = cosf(x);
  if constexpr (f == SpecialFunction::sin) y = sinf(x);
  if constexpr (f == SpecialFunction::log) y = logf(x);
  if constexpr (f == SpecialFunction::silu) y = x / (1.0f + expf(-x));
  return y;
}

template <SpecialFunction f>
__device__ float of_text(float x) {
  if constexpr (f == SpecialFunction::ex2) return special_ex2(tables, x);
  if constexpr (f == SpecialFunction::rcp) return special_rcp(tables, x);
  if constexpr (f == SpecialFunction::rsqrt) return special_rsqrt(tables, x);
  if constexpr (f == SpecialFunction::lg2) return special_lg2(tables, x);
  if constexpr (f == SpecialFunction::exp) return cuda_exp(tables, x);
  if constexpr (f == SpecialFunction::cos) return cuda_cos(x);
  if constexpr (f == SpecialFunction::sin) return cuda_sin(x);
  if constexpr (f == SpecialFunction::log) return cuda_log(x);
  if constexpr (f == SpecialFunction::silu) return cuda_silu(tables, x);
}

template <SpecialFunction f>
__global__ void compare_kernel(Found* found) {
  unsigned long long compared = 0;
  for (std::uint64_t i = std::uint64_t(blockIdx.x) * kThreads + threadIdx.x; i < 1ull << 32;
       i += std::uint64_t(kBlocks) * kThreads) {
    const auto input = std::uint32_t(i);
    if (!is_spoken_of<f>(input)) continue;
    ++compared;
    const std::uint32_t chip = bits_of(of_chip<f>(float_of(input)));
    const std::uint32_t text = bits_of(of_text<f>(float_of(input)));
    if (chip == text) continue;
    const unsigned long long at = atomicAdd(&found->different, 1ull);
    if (at < kMostSpecialDifferences) found->differences[at] = {input, chip, text};
  }
  atomicAdd(&found->compared, compared);
}

template <SpecialFunction f>
SpecialComparison compare() {
  SpecialComparison result;
  Found* found = nullptr;
  std::vector<Found> here(1);
  const auto failed = [&result](cudaError_t error) {
    if (error != cudaSuccess && result.error.empty()) result.error = cudaGetErrorString(error);
    return error != cudaSuccess;
  };
  if (failed(cudaMalloc(&found, sizeof(Found)))) return result;
  if (!failed(cudaMemset(found, 0, sizeof(Found)))) {
    compare_kernel<f><<<kBlocks, kThreads>>>(found);
    if (!failed(cudaGetLastError())) {
      failed(cudaMemcpy(here.data(), found, sizeof(Found), cudaMemcpyDeviceToHost));
    }
  }
  cudaFree(found);
  if (!result.error.empty()) return result;
  result.compared = std::int64_t(here[0].compared);
  result.different = std::int64_t(here[0].different);
  const std::int64_t kept = std::min(result.different, kMostSpecialDifferences);
  result.differences.assign(here[0].differences, here[0].differences + kept);
  std::sort(result.differences.begin(), result.differences.end(),
            [](const auto& a, const auto& b) { return a.input < b.input; });
  return result;
}

}  // namespace

SpecialComparison compare_special(SpecialFunction function) {
  using enum SpecialFunction;
  switch (function) {
    case ex2:
      return compare<ex2>();
    case rcp:
      return compare<rcp>();
    case rsqrt:
      return compare<rsqrt>();
    case lg2:
      return compare<lg2>();
    case exp:
      return compare<exp>();
    case cos:
      return compare<cos>();
    case sin:
      return compare<sin>();
    case log:
      return compare<log>();
    case silu:
      return compare<silu>();
  }
  return {};
}

}  // namespace isobit::cuda_test
