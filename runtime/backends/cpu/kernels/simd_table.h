// The leaves of one instruction set as a table. Callers: kernels_*.cc.
#pragma once

#include "runtime/backends/cpu/kernels/simd_decode.h"
#include "runtime/backends/cpu/kernels/simd_ordered.h"
#include "runtime/backends/cpu/kernels/simd_scores.h"
#include "runtime/backends/cpu/kernels/simd_tensor.h"

namespace isobit::cpu::simd {

template <class V>
constexpr KernelsOf<typename V::T> table() {
  KernelsOf<typename V::T> kernels = {
      gemm<V>,         finish<V>,        rms_norm<V>,       rope<V>,
      gated_silu<V>,   add<V>,           round_all<V>,      quantize<V>,
      amax<V>,         attention<V>,     attention_part<V>, attention_merge<V>,
      weights_part<V>, weights_merge<V>, decode_rows<V>,    decode_turned<V>,
      turn_codes<V>,   widen<V>,         exp_all<V>};
  if constexpr (sizeof(typename V::T) == 4) {
    kernels.tensor_chain = tensor_chains<V>;
    kernels.ordered = ordered_sums<V>;
  }
  return kernels;
}

}  // namespace isobit::cpu::simd
