// What the exact pools of K and V hold: Reals, or 16-bit numbers that are widened, exactly, where
// they are read. Device code. Callers: kv.cu, attention.cu, attention_coded.cu.
#pragma once

#include "runtime/backends/cuda/kernels/words.cuh"

namespace isobit::cuda {

struct KvBf16 {
  std::uint16_t bits;
};
struct KvFp16 {
  std::uint16_t bits;
};

__device__ inline float widened(float x) {
  return x;
}
__device__ inline double widened(double x) {
  return x;
}
__device__ inline float widened(KvBf16 x) {
  return float_from_bf16(x.bits);
}
__device__ inline float widened(KvFp16 x) {
  return half_value(x.bits);
}

/// REQUIRES: x is exact in E.
template <class E, class T>
__device__ inline E narrowed(T x) {
  if constexpr (std::is_same_v<E, KvBf16>) {
    return {bf16_from_float(x)};
  } else if constexpr (std::is_same_v<E, KvFp16>) {
    return {fp16_from_float(x)};
  } else {
    return x;
  }
}

/// Element `at` of a pool whose format is known at run time only.
template <class T>
__device__ inline T pool_value(const void* pool, Format cache, std::int64_t at) {
  if constexpr (sizeof(T) == 4) {
    if (cache == Format::bf16) return widened(static_cast<const KvBf16*>(pool)[at]);
    if (cache == Format::fp16) return widened(static_cast<const KvFp16*>(pool)[at]);
  }
  return static_cast<const T*>(pool)[at];
}

/// Calls f with Real's type and the pools'.
template <class F>
void with_pool_types(bool wide, Format cache, F&& f) {
  if (wide) {
    f(double{}, double{});
  } else if (cache == Format::bf16) {
    f(float{}, KvBf16{});
  } else if (cache == Format::fp16) {
    f(float{}, KvFp16{});
  } else {
    f(float{}, float{});
  }
}

}  // namespace isobit::cuda
