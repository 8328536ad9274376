/* A product in another order than the reference's: one sum over all columns, ascending, each
 * product and each sum rounded. It is right to the last bits and has other bits, so that
 * `same_bits` against the reference is red.
 *
 *   cc -std=c99 -O2 -ffp-contract=off -shared -fPIC -I.. gemm_other_order.c -o gemm_other_order.so
 */
#include "plugin_abi.h"

static int32_t gemm(void* state, isobit_call* call, const isobit_gemm* args) {
  (void)state;
  if (args->x.element != ISOBIT_F32) {
    call->error(call, "this example has fp32 elements only: ask for another precision than fp64");
    return 1;
  }
  for (int64_t m = 0; m < args->out.rows; ++m) {
    const float* x = (const float*)args->x.data + m * args->x.stride;
    float* out = (float*)args->out.data + m * args->out.stride;
    for (int64_t n = 0; n < args->out.cols; ++n) {
      const float* w = (const float*)args->w.data + n * args->w.stride;
      float sum = 0.0f;
      for (int64_t k = 0; k < args->x.cols; ++k) sum += x[k] * w[k];
      out[n] = sum;
    }
  }
  return 0;
}

const uint32_t isobit_plugin_abi = ISOBIT_PLUGIN_ABI;

int32_t isobit_plugin_open(const isobit_host* host, isobit_plugin* plugin) {
  if (host->device != ISOBIT_CPU) {
    host->error(host, "gemm_other_order computes on the CPU: ask for device cpu");
    return 1;
  }
  plugin->name = "gemm_other_order";
  plugin->version = "1";
  plugin->gemm = gemm;
  return 0;
}
