// GEMM in the order of an emulated schedule (numerics/schedule.h): a plane of sums a slice, then
// their meeting. Written for its order, not for speed: a thread owns one output of a few rows and
// walks the slice's k upward, lanes side by side so that words are read together.

#include <cuda_runtime.h>

#include "runtime/backends/cuda/device/device.h"
#include "runtime/backends/cuda/kernels/words.cuh"

namespace isobit::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kRows = 4;

template <class T>
struct Call {
  const T* x;
  std::int64_t x_stride, rows;
  WeightView w;
  std::int64_t length;  // of a slice
  T* sums;              // (slices, rows, n)
};

/// Blocks: outputs, row groups, slices.
template <class T, class W>
__global__ void slice_kernel(Call<T> call) {
  const std::int64_t n = std::int64_t(blockIdx.x) * kThreads + std::int64_t(threadIdx.x);
  if (n >= call.w.n) return;
  const std::int64_t row0 = std::int64_t(blockIdx.y) * kRows, slice = std::int64_t(blockIdx.z);
  const std::int64_t begin = slice * call.length;
  const std::int64_t end = begin + call.length < call.w.k ? begin + call.length : call.w.k;
  const auto* words = static_cast<const uint4*>(call.w.data);
  T acc[kRows];
#pragma unroll
  for (int r = 0; r < kRows; ++r) acc[r] = T(0);
  int s = 0;
  for (std::int64_t k = begin; k < end;) {
    while (k >= call.w.bounds[s + 1]) ++s;
    const std::int64_t into = k - call.w.bounds[s], word = call.w.words[s] + into / W::kVector;
    const uint4 raw = words[word * call.w.n + n];
    const int first = int(into % W::kVector);
    const std::int64_t in_segment = call.w.bounds[s + 1] < end ? call.w.bounds[s + 1] : end;
    const int left = int(in_segment - k < W::kVector - first ? in_segment - k : W::kVector - first);
#pragma unroll
    for (int e = 0; e < W::kVector; ++e) {
      if (e < first || e >= first + left) continue;
      const T weight = T(element<W>(raw, e));
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        if (row0 + r >= call.rows) break;
        acc[r] = fma_(call.x[(row0 + r) * call.x_stride + k + (e - first)], weight, acc[r]);
      }
    }
    k += left;
  }
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    if (row0 + r >= call.rows) break;
    call.sums[(slice * call.rows + row0 + r) * call.w.n + n] = canonical(acc[r]);
  }
}

template <class T>
__global__ void meet_kernel(GemmSchedule schedule, const T* sums, std::int64_t slices,
                            std::int64_t rows, std::int64_t n, T* out, std::int64_t out_stride) {
  const std::int64_t i = std::int64_t(blockIdx.x) * kThreads + std::int64_t(threadIdx.x);
  if (i >= rows * n) return;
  T sum[kMostSlices];
  for (std::int64_t s = 0; s < slices; ++s) sum[s] = sums[s * rows * n + i];
  out[i / n * out_stride + i % n] = end_slices(schedule, sum, slices);
}

}  // namespace

std::size_t gemm_slices_bytes(const GemmCall& call, const GemmSchedule& schedule) {
  return std::size_t(schedule.slices(call.w.k) * call.rows * call.w.n) *
         (call.wide ? sizeof(double) : sizeof(float));
}

const char* gemm_slices(const GemmCall& call, const GemmSchedule& schedule, void* workspace) {
  const std::int64_t slices = schedule.slices(call.w.k), all = call.rows * call.w.n;
  if (all == 0) return "none";
  const dim3 grid(unsigned((call.w.n + kThreads - 1) / kThreads),
                  unsigned((call.rows + kRows - 1) / kRows), unsigned(slices));
  with_types(call.wide, call.w.element, [&]<class T, class W>(T, W) {
    auto* const sums = static_cast<T*>(workspace);
    slice_kernel<T, W><<<grid, kThreads, 0, call.stream>>>({static_cast<const T*>(call.x),
                                                            call.x_stride, call.rows, call.w,
                                                            schedule.slice_length(call.w.k), sums});
    check_launch("gemm_slices");
    meet_kernel<T><<<unsigned((all + kThreads - 1) / kThreads), kThreads, 0, call.stream>>>(
        schedule, sums, slices, call.rows, call.w.n, static_cast<T*>(call.out), call.out_stride);
    check_launch("gemm_meet");
  });
  return "gemm_slices";
}

}  // namespace isobit::cuda
