// The kernels with NEON (AdvSIMD of Armv8.0): registers of 4 floats or 2 doubles.
//
// Promise: the scalar table's bits (kernels/simd.h says why). Every AArch64 machine that runs
// Linux has these instructions, so nothing is asked at run time. FMLA is one fused operation a
// lane, and the AdvSIMD of AArch64 obeys FPCR: it neither flushes nor approximates unless told to,
// which numerics/probes.cc refuses. BFDOT, BFMMLA and BFCVT are never used.
#include "runtime/backends/cpu/kernels/kernels.h"

#if defined(__aarch64__)
#include <arm_neon.h>

#include "runtime/backends/cpu/kernels/simd_table.h"

namespace isobit::cpu {
namespace {

// Of 32 registers a tile takes 20 sums, 4 of weights and 5 of x (g++ loads these early: a sixth row
// would spill sums): 20 FMA, enough chains for four units, for 9 loads.
struct Float128 : simd::Vector<float, 16> {
  static constexpr int kRows = 5, kColumns = 4, kAccumulators = 20;
  static Reg set1(float x) { return (Reg)vdupq_n_f32(x); }
  static Reg fma(Reg a, Reg b, Reg c) {
    return (Reg)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
  }
  static Reg sqrt(Reg x) { return (Reg)vsqrtq_f32((float32x4_t)x); }
  static Reg load_n(const float* p, int n) {
    const float32x2_t zero = vdup_n_f32(0);
    const float32x2_t low = n == 1 ? vld1_lane_f32(p, zero, 0) : vld1_f32(p);
    return (Reg)vcombine_f32(low, n == 3 ? vld1_lane_f32(p + 2, zero, 0) : zero);
  }
  static void store_n(float* p, int n, Reg x) {
    if (n == 1) return vst1q_lane_f32(p, (float32x4_t)x, 0);
    vst1_f32(p, vget_low_f32((float32x4_t)x));
    if (n == 3) vst1q_lane_f32(p + 2, (float32x4_t)x, 2);
  }
  static Reg load_f32(const float* p) { return (Reg)vld1q_f32(p); }
  static Reg load_codes(const std::int8_t* p) {
    std::uint32_t four;
    std::memcpy(&four, p, sizeof four);
    const int16x8_t wide = vmovl_s8(vreinterpret_s8_u32(vdup_n_u32(four)));
    return (Reg)vcvtq_f32_s32(vmovl_s16(vget_low_s16(wide)));
  }
  static Reg load_bf16(const std::uint16_t* p) { return (Reg)vshll_n_u16(vld1_u16(p), 16); }
  static Reg load_fp16(const std::uint16_t* p) {
    return (Reg)vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p)));
  }
  static Ints load_shorts(const std::int16_t* p) { return (Ints)vmovl_s16(vld1_s16(p)); }
  static void store_shorts(std::int16_t* p, Ints x) { vst1_s16(p, vmovn_s32((int32x4_t)x)); }
  /// In each byte the table's entry of the place that it holds, below 16.
  static Bits look_up(const std::int8_t* table, Bits places) {
    return (Bits)vqtbl1q_s8(vld1q_s8(table), (uint8x16_t)places);
  }
  static Reg round_fp16(Reg x) {
    return simd::canonical<Float128>((Reg)vcvt_f32_f16(vcvt_f16_f32((float32x4_t)x)));
  }
};

struct Double128 : simd::Vector<double, 16> {
  static constexpr int kRows = 5, kColumns = 4, kAccumulators = 20;
  /// Two neighbouring 16-bit elements, twice.
  static uint16x4_t pair(const std::uint16_t* p) {
    std::uint32_t both;
    std::memcpy(&both, p, sizeof both);
    return vreinterpret_u16_u32(vdup_n_u32(both));
  }
  static Reg widen(float32x4_t x) { return (Reg)vcvt_f64_f32(vget_low_f32(x)); }
  static Reg set1(double x) { return (Reg)vdupq_n_f64(x); }
  static Reg fma(Reg a, Reg b, Reg c) {
    return (Reg)vfmaq_f64((float64x2_t)c, (float64x2_t)a, (float64x2_t)b);
  }
  static Reg sqrt(Reg x) { return (Reg)vsqrtq_f64((float64x2_t)x); }
  static Reg load_n(const double* p, int) {  // one: two are a whole register
    return (Reg)vld1q_lane_f64(p, vdupq_n_f64(0), 0);
  }
  static void store_n(double* p, int, Reg x) { vst1q_lane_f64(p, (float64x2_t)x, 0); }
  static Reg load_f32(const float* p) { return (Reg)vcvt_f64_f32(vld1_f32(p)); }
  static Reg load_bf16(const std::uint16_t* p) {
    return widen(vreinterpretq_f32_u32(vshll_n_u16(pair(p), 16)));
  }
  static Reg load_fp16(const std::uint16_t* p) {
    return widen(vcvt_f32_f16(vreinterpret_f16_u16(pair(p))));
  }
};

}  // namespace

const Kernels* neon_kernels() {
  static const Kernels kernels{"neon", simd::table<Float128>(), simd::table<Double128>()};
  return &kernels;
}

}  // namespace isobit::cpu

#else

namespace isobit::cpu {
const Kernels* neon_kernels() {
  return nullptr;
}
}  // namespace isobit::cpu

#endif
