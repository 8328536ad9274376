// Real rows to dense rows of a vendor library's element: every value is exact in it already.
//
// Callers: cublas.cc, through cublas.h.

#include <cuda_fp16.h>

#include "runtime/backends/cuda/vendor/cublas.h"
#include "runtime/numerics/formats.h"

namespace isobit::cuda {
namespace {

constexpr int kThreads = 256;

__global__ void narrow_kernel(const float* x, std::int64_t stride, std::int64_t rows,
                              std::int64_t cols, Format element, void* out) {
  const std::int64_t i = std::int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= rows * cols) return;
  const float value = x[i / cols * stride + i % cols];
  const std::uint32_t bits = __float_as_uint(value);
  if (element == Format::e4m3) {
    static_cast<std::uint8_t*>(out)[i] = e4m3_from_float(value);
    return;
  }
  static_cast<std::uint16_t*>(out)[i] = element == Format::fp16
                                            ? __half_as_ushort(__float2half_rn(value))
                                            : std::uint16_t(bits >> 16);
}

}  // namespace

void narrow(cudaStream_t stream, const float* x, std::int64_t stride, std::int64_t rows,
            std::int64_t cols, Format element, void* out) {
  const std::int64_t count = rows * cols;
  if (count == 0) return;
  narrow_kernel<<<unsigned((count + kThreads - 1) / kThreads), kThreads, 0, stream>>>(
      x, stride, rows, cols, element, out);
  check_launch("narrow");
}

}  // namespace isobit::cuda
