// A 16-byte word of weights and the values in it; where a segment's words lie. Device code.
#pragma once

#include <cstdint>

#include "runtime/backends/cuda/kernels/kernels.h"
#include "runtime/numerics/formats.h"

namespace isobit::cuda {

/// Element types of weights, as tags: what a word of it holds.
struct Bf16 {
  static constexpr int kVector = 8;
  static constexpr Format kFormat = Format::bf16;
};
struct Fp16 {
  static constexpr int kVector = 8;
  static constexpr Format kFormat = Format::fp16;
};
struct Fp32 {
  static constexpr int kVector = 4;
  static constexpr Format kFormat = Format::f32;
};

__device__ inline float half_value(std::uint32_t bits) {
  float out;  // exact, subnormals kept
  asm("cvt.f32.f16 %0, %1;" : "=f"(out) : "h"(std::uint16_t(bits)));
  return out;
}

/// Element e of a word, widened exactly. e is a constant after unrolling.
template <class W>
__device__ inline float element(const uint4& word, int e) {
  const auto part = [&](int i) {
    return i == 0 ? word.x : i == 1 ? word.y : i == 2 ? word.z : word.w;
  };
  if constexpr (W::kVector == 4) {
    return float_of(part(e));
  } else {
    const std::uint32_t pair = part(e / 2);
    if constexpr (W::kFormat == Format::bf16) {
      return float_of(e % 2 == 0 ? pair << 16 : pair & 0xffff0000u);
    } else {
      return half_value(e % 2 == 0 ? pair & 0xffffu : pair >> 16);
    }
  }
}

/// Four neighbouring values, at 16 bytes.
__device__ inline void load4(const float* at, float (&x)[4]) {
  const float4 v = *reinterpret_cast<const float4*>(at);
  x[0] = v.x, x[1] = v.y, x[2] = v.z, x[3] = v.w;
}
__device__ inline void load4(const double* at, double (&x)[4]) {
  const double2 a = reinterpret_cast<const double2*>(at)[0];
  const double2 b = reinterpret_cast<const double2*>(at)[1];
  x[0] = a.x, x[1] = a.y, x[2] = b.x, x[3] = b.y;
}
__device__ inline void store4(float* at, const float (&x)[4]) {
  *reinterpret_cast<float4*>(at) = make_float4(x[0], x[1], x[2], x[3]);
}
__device__ inline void store4(double* at, const double (&x)[4]) {
  reinterpret_cast<double2*>(at)[0] = make_double2(x[0], x[1]);
  reinterpret_cast<double2*>(at)[1] = make_double2(x[2], x[3]);
}

/// A word that is read once by one thread.
__device__ inline uint4 stream_word(const uint4* at) {
  return __ldcs(at);
}

/// Calls f with Real's and the elements' tags. fp64 works on fp32 words: a weight is one fp32.
template <class F>
void with_types(bool wide, Format element_format, F&& f) {
  if (wide) {
    f(double{}, Fp32{});
  } else if (element_format == Format::bf16) {
    f(float{}, Bf16{});
  } else if (element_format == Format::fp16) {
    f(float{}, Fp16{});
  } else {
    f(float{}, Fp32{});
  }
}

}  // namespace isobit::cuda
