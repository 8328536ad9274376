// Two orders of a product on an NVIDIA GPU, a thread for each output. {order: segments}, the
// default, is the reference's (NUMERICS.md, "Reductions"): its bits, on every GPU.
// {order: ascending} is one chain of fused multiply-adds over all columns: other bits.
//
//   nvcc -O2 --fmad=false -shared -Xcompiler -fPIC -I.. gemm_orders.cu -o gemm_orders.so
#include <cstdint>
#include <cstring>

#include "plugin_abi.h"

namespace {

constexpr int kMostSegments = 32;
constexpr int kThreads = 128;  // of a block

struct Bounds {
  std::int64_t at[kMostSegments + 1];
  int segments;
};

struct Operand {
  const float* data;
  std::int64_t stride;
};

__global__ void multiply(Operand x, Operand w, std::int64_t outputs, Bounds bounds, float* out,
                         std::int64_t out_stride) {
  const std::int64_t n = std::int64_t(blockIdx.x) * kThreads + threadIdx.x;
  const std::int64_t m = blockIdx.y;
  if (n >= outputs) return;
  const float* a = x.data + m * x.stride;
  const float* b = w.data + n * w.stride;
  float sum[kMostSegments];
  for (int s = 0; s < bounds.segments; ++s) {
    float acc = 0.0f;
    for (std::int64_t k = bounds.at[s]; k < bounds.at[s + 1]; ++k) acc = __fmaf_rn(a[k], b[k], acc);
    sum[s] = acc;
  }
  for (int left = bounds.segments; left > 1; left /= 2) {
    for (int i = 0; i < left / 2; ++i) sum[i] = sum[2 * i] + sum[2 * i + 1];
  }
  out[m * out_stride + n] = sum[0];
}

char ascending, segments;  // their addresses are the two states

std::int32_t gemm(void* state, isobit_call* call, const isobit_gemm* args) {
  if (args->x.element != ISOBIT_F32 || args->segments > kMostSegments) {
    call->error(call, "this example has fp32 elements and at most 32 segments");
    return 1;
  }
  Bounds bounds{};
  if (state == &ascending) {
    bounds.segments = 1;
    bounds.at[1] = args->x.cols;
  } else {
    bounds.segments = int(args->segments);
    std::memcpy(bounds.at, args->bounds, sizeof(std::int64_t) * (args->segments + 1));
  }
  constexpr std::int64_t kMostRows = 32768;  // of one launch
  for (std::int64_t first = 0; first < args->x.rows; first += kMostRows) {
    const std::int64_t left = args->x.rows - first;
    const Operand x{static_cast<const float*>(args->x.data) + first * args->x.stride,
                    args->x.stride};
    const Operand w{static_cast<const float*>(args->w.data), args->w.stride};
    float* const out = static_cast<float*>(args->out.data) + first * args->out.stride;
    const dim3 grid(unsigned((args->w.rows + kThreads - 1) / kThreads),
                    unsigned(left < kMostRows ? left : kMostRows));
    multiply<<<grid, kThreads, 0, static_cast<cudaStream_t>(call->stream)>>>(
        x, w, args->w.rows, bounds, out, args->out.stride);
  }
  const cudaError_t launched = cudaGetLastError();
  if (launched == cudaSuccess) return 0;
  call->error(call, cudaGetErrorString(launched));
  return 1;
}

}  // namespace

const std::uint32_t isobit_plugin_abi = ISOBIT_PLUGIN_ABI;

std::int32_t isobit_plugin_open(const isobit_host* host, isobit_plugin* plugin) {
  if (host->device != ISOBIT_CUDA) {
    host->error(host, "gemm_orders computes on a GPU: ask for device cuda");
    return 1;
  }
  plugin->state = &segments;
  for (std::int64_t i = 0; i < host->option_count; ++i) {
    const isobit_option& option = host->options[i];
    const bool order = std::strcmp(option.name, "order") == 0;
    if (order && std::strcmp(option.value, "ascending") == 0) {
      plugin->state = &ascending;
    } else if (!order || std::strcmp(option.value, "segments") != 0) {
      host->error(host, "gemm_orders has the option order: segments or ascending");
      return 1;
    }
  }
  plugin->name = "gemm_orders";
  plugin->version = "1";
  plugin->gemm = gemm;
  return 0;
}
