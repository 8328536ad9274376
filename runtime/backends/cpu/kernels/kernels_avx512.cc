// The kernels with AVX-512 (F, BW, DQ, VL): registers of 16 floats or 8 doubles, masked tails.
//
// Promise: the scalar table's bits (kernels/simd.h says why). Called only when avx512_kernels()
// found the instructions and the operating system's support for the registers.
#include "runtime/backends/cpu/kernels/kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>

#include "runtime/backends/cpu/kernels/simd_table.h"

namespace isobit::cpu {
namespace {

// vcvtneps2bf16 is never used: it flushes subnormals. Zero-masking forms with a full mask compile
// to the plain instructions; the plain intrinsics of g++ 12 warn of their own undefined operand.
constexpr __mmask16 kAll = 0xffff;

struct Float512 : simd::Vector<float, 64> {
  static constexpr int kRows = 12, kColumns = 2, kAccumulators = 24;
  static Reg set1(float x) { return (Reg)_mm512_set1_ps(x); }
  static Reg fma(Reg a, Reg b, Reg c) { return (Reg)_mm512_fmadd_ps(a, b, c); }
  static void accumulate(Reg& sum, Reg a, Reg b) {
    __asm__ volatile("vfmadd231ps %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
  }
  static Reg sqrt(Reg x) { return (Reg)_mm512_maskz_sqrt_ps(kAll, x); }
  static Reg load_n(const float* p, int n) {
    return (Reg)_mm512_maskz_loadu_ps(__mmask16((1u << n) - 1u), p);
  }
  static void store_n(float* p, int n, Reg x) {
    _mm512_mask_storeu_ps(p, __mmask16((1u << n) - 1u), x);
  }
  static Reg load_f32(const float* p) { return (Reg)_mm512_loadu_ps(p); }
  static Reg load_codes(const std::int8_t* p) {
    const __m128i codes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return (Reg)_mm512_maskz_cvtepi32_ps(kAll, _mm512_maskz_cvtepi8_epi32(kAll, codes));
  }
  static Reg load_bf16(const std::uint16_t* p) {
    const __m256i half = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    return (Reg)_mm512_maskz_slli_epi32(kAll, _mm512_maskz_cvtepu16_epi32(kAll, half), 16);
  }
  static Reg load_fp16(const std::uint16_t* p) {
    return (Reg)_mm512_maskz_cvtph_ps(kAll,
                                      _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static Ints load_shorts(const std::int16_t* p) {
    const __m256i half = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    return (Ints)_mm512_maskz_cvtepi16_epi32(kAll, half);
  }
  static void store_shorts(std::int16_t* p, Ints x) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                        _mm512_maskz_cvtepi32_epi16(kAll, (__m512i)x));
  }
  /// In each byte the table's entry of the place that it holds, below 16.
  static Bits look_up(const std::int8_t* table, Bits places) {
    const __m128i values = _mm_loadu_si128(reinterpret_cast<const __m128i*>(table));
    const __m512i all = _mm512_maskz_broadcast_i32x4(kAll, values);
    return (Bits)_mm512_shuffle_epi8(all, (__m512i)places);
  }
  static Reg round_fp16(Reg x) {
    const __m256i half =
        _mm512_maskz_cvtps_ph(kAll, x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    return simd::canonical<Float512>((Reg)_mm512_maskz_cvtph_ps(kAll, half));
  }
};

struct Double512 : simd::Vector<double, 64> {
  static constexpr int kRows = 12, kColumns = 2, kAccumulators = 24;
  static Reg set1(double x) { return (Reg)_mm512_set1_pd(x); }
  static Reg fma(Reg a, Reg b, Reg c) { return (Reg)_mm512_fmadd_pd(a, b, c); }
  static void accumulate(Reg& sum, Reg a, Reg b) {
    __asm__ volatile("vfmadd231pd %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
  }
  static Reg sqrt(Reg x) { return (Reg)_mm512_maskz_sqrt_pd(0xff, x); }
  static Reg load_n(const double* p, int n) {
    return (Reg)_mm512_maskz_loadu_pd(__mmask8((1u << n) - 1u), p);
  }
  static void store_n(double* p, int n, Reg x) {
    _mm512_mask_storeu_pd(p, __mmask8((1u << n) - 1u), x);
  }
  static Reg load_f32(const float* p) {
    return (Reg)_mm512_maskz_cvtps_pd(0xff, _mm256_loadu_ps(p));
  }
  static Reg load_bf16(const std::uint16_t* p) {
    const __m128i half = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    const __m256i wide = _mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16);
    return (Reg)_mm512_maskz_cvtps_pd(0xff, _mm256_castsi256_ps(wide));
  }
  static Reg load_fp16(const std::uint16_t* p) {
    const __m128i half = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return (Reg)_mm512_maskz_cvtps_pd(0xff, _mm256_cvtph_ps(half));
  }
};

}  // namespace

const Kernels* avx512_kernels() {
  static const Kernels kernels{"avx512", simd::table<Float512>(), simd::table<Double512>()};
  // These ask the processor and, through XGETBV, the operating system.
  static const bool present = __builtin_cpu_supports("avx512f") &&
                              __builtin_cpu_supports("avx512bw") &&
                              __builtin_cpu_supports("avx512dq") &&
                              __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("fma");
  return present ? &kernels : nullptr;
}

}  // namespace isobit::cpu

#else

namespace isobit::cpu {
const Kernels* avx512_kernels() {
  return nullptr;
}
}  // namespace isobit::cpu

#endif
