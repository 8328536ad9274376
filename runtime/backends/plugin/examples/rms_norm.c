/* An RMSNorm that adds the squares of a row one after another, where the reference has 256 lanes.
 * It looks like a small difference and changes bits. The option {sum: lanes} takes the reference's
 * order (NUMERICS.md, "Reductions") and has its bits.
 *
 *   cc -std=c99 -O2 -ffp-contract=off -shared -fPIC -I.. rms_norm.c -o rms_norm.so -lm
 */
#include <math.h>
#include <string.h>

#include "plugin_abi.h"

enum { LANES = 256 };

static float squares_ascending(const float* x, int64_t n) {
  float sum = 0.0f;
  for (int64_t i = 0; i < n; ++i) sum = fmaf(x[i], x[i], sum);
  return sum;
}

static float squares_in_lanes(const float* x, int64_t n) {
  float lane[LANES] = {0};
  for (int64_t i = 0; i < n; ++i) lane[i % LANES] = fmaf(x[i], x[i], lane[i % LANES]);
  for (int half = LANES / 2; half >= 1; half /= 2) {
    for (int i = 0; i < half; ++i) lane[i] = lane[i] + lane[i + half];
  }
  return lane[0];
}

static char ascending, lanes; /* their addresses are the two states */

static int32_t rms_norm(void* state, isobit_call* call, const isobit_rms_norm* args) {
  const float* weight = (const float*)args->weight;
  if (args->x.element != ISOBIT_F32) {
    call->error(call, "this example has fp32 elements only: ask for another precision than fp64");
    return 1;
  }
  for (int64_t r = 0; r < args->x.rows; ++r) {
    const float* x = (const float*)args->x.data + r * args->x.stride;
    float* out = (float*)args->out.data + r * args->out.stride;
    const int64_t n = args->x.cols;
    const float sum = state == &lanes ? squares_in_lanes(x, n) : squares_ascending(x, n);
    const float factor = 1.0f / sqrtf(sum / (float)n + (float)args->eps);
    for (int64_t i = 0; i < n; ++i) out[i] = (x[i] * factor) * weight[i];
  }
  return 0;
}

const uint32_t isobit_plugin_abi = ISOBIT_PLUGIN_ABI;

int32_t isobit_plugin_open(const isobit_host* host, isobit_plugin* plugin) {
  if (host->device != ISOBIT_CPU) {
    host->error(host, "rms_norm computes on the CPU: ask for device cpu");
    return 1;
  }
  plugin->state = &ascending;
  for (int64_t i = 0; i < host->option_count; ++i) {
    const isobit_option* option = &host->options[i];
    if (strcmp(option->name, "sum") == 0 && strcmp(option->value, "lanes") == 0) {
      plugin->state = &lanes;
    } else if (strcmp(option->name, "sum") != 0 || strcmp(option->value, "ascending") != 0) {
      host->error(host, "rms_norm has the option sum: ascending or lanes");
      return 1;
    }
  }
  plugin->name = "rms_norm";
  plugin->version = "1";
  plugin->rms_norm = rms_norm;
  return 0;
}
