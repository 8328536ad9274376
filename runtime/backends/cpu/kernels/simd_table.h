// The leaves of one instruction set as a table. Callers: kernels_*.cc.
#pragma once

#include "runtime/backends/cpu/kernels/simd_decode.h"
#include "runtime/backends/cpu/kernels/simd_ordered.h"
#include "runtime/backends/cpu/kernels/simd_scores.h"
#include "runtime/backends/cpu/kernels/simd_tensor.h"

namespace isobit::cpu::simd {

template <class V>
constexpr auto tensor_leaf() -> void (*)(const TensorArgs&) {
  if constexpr (sizeof(typename V::T) == 4) {
    return tensor_chains<V>;
  } else {
    return nullptr;
  }
}

template <class V>
constexpr auto ordered_leaf() -> void (*)(const OrderedArgs&) {
  if constexpr (sizeof(typename V::T) == 4) {
    return ordered_sums<V>;
  } else {
    return nullptr;
  }
}

template <class V>
constexpr KernelsOf<typename V::T> table() {
  return {gemm<V>,          finish<V>,        rms_norm<V>,       rope<V>,
          gated_silu<V>,    add<V>,           round_all<V>,      quantize<V>,
          amax<V>,          attention<V>,     attention_part<V>, attention_merge<V>,
          weights_part<V>,  weights_merge<V>, decode_rows<V>,    decode_turned<V>,
          turn_codes<V>,    widen<V>,         exp_all<V>,        tensor_leaf<V>(),
          ordered_leaf<V>()};
}

}  // namespace isobit::cpu::simd
