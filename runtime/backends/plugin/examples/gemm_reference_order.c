/* A product in the reference's order, written from NUMERICS.md, "Reductions": a chain of fused
 * multiply-adds over each segment of the columns, the segments' sums in the neighbour tree. It has
 * the reference's bits in every precision but fp64.
 *
 *   cc -std=c99 -O2 -ffp-contract=off -shared -fPIC -I.. gemm_reference_order.c \
 *      -o gemm_reference_order.so -lm
 */
#include <math.h>

#include "plugin_abi.h"

enum { MOST_SEGMENTS = 32 };

/* From +0, for ascending k: acc = fma(x_k, w_k, acc). */
static float chain(const float* x, const float* w, int64_t begin, int64_t end) {
  float acc = 0.0f;
  for (int64_t k = begin; k < end; ++k) acc = fmaf(x[k], w[k], acc);
  return acc;
}

static int32_t gemm(void* state, isobit_call* call, const isobit_gemm* args) {
  (void)state;
  if (args->x.element != ISOBIT_F32 || args->segments > MOST_SEGMENTS) {
    call->error(call, "this example has fp32 elements and at most 32 segments");
    return 1;
  }
  for (int64_t m = 0; m < args->out.rows; ++m) {
    const float* x = (const float*)args->x.data + m * args->x.stride;
    float* out = (float*)args->out.data + m * args->out.stride;
    for (int64_t n = 0; n < args->out.cols; ++n) {
      const float* w = (const float*)args->w.data + n * args->w.stride;
      float sum[MOST_SEGMENTS];
      for (int64_t s = 0; s < args->segments; ++s) {
        sum[s] = chain(x, w, args->bounds[s], args->bounds[s + 1]);
      }
      /* ((s0+s1)+(s2+s3))+((s4+s5)+(s6+s7)) */
      for (int64_t left = args->segments; left > 1; left /= 2) {
        for (int64_t i = 0; i < left / 2; ++i) sum[i] = sum[2 * i] + sum[2 * i + 1];
      }
      out[n] = sum[0];
    }
  }
  return 0;
}

const uint32_t isobit_plugin_abi = ISOBIT_PLUGIN_ABI;

int32_t isobit_plugin_open(const isobit_host* host, isobit_plugin* plugin) {
  if (host->device != ISOBIT_CPU) {
    host->error(host, "gemm_reference_order computes on the CPU: ask for device cpu");
    return 1;
  }
  plugin->name = "gemm_reference_order";
  plugin->version = "1";
  plugin->gemm = gemm;
  return 0;
}
