// The kernels with AVX2, FMA and F16C: registers of 8 floats or 4 doubles.
//
// Promise: the scalar table's bits (kernels/simd.h says why). Called only when avx2_kernels()
// found the instructions and the operating system's support for the registers.
#include "runtime/backends/cpu/kernels/kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>

#include "runtime/backends/cpu/kernels/simd_table.h"

namespace isobit::cpu {
namespace {

struct Float256 : simd::Vector<float, 32> {
  static constexpr int kRows = 6, kColumns = 2, kAccumulators = 12;
  static __m256i first(int n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  }
  static Reg set1(float x) { return (Reg)_mm256_set1_ps(x); }
  static Reg fma(Reg a, Reg b, Reg c) { return (Reg)_mm256_fmadd_ps(a, b, c); }
  static void accumulate(Reg& sum, Reg a, Reg b) {
    __asm__ volatile("vfmadd231ps %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
  }
  static Reg sqrt(Reg x) { return (Reg)_mm256_sqrt_ps(x); }
  static Reg load_n(const float* p, int n) { return (Reg)_mm256_maskload_ps(p, first(n)); }
  static void store_n(float* p, int n, Reg x) { _mm256_maskstore_ps(p, first(n), x); }
  /// Eight rows of eight: pairs, fours, halves.
  static void transpose(Reg* r) {
    __m256 pair[8], four[8];
    simd::unroll<4>([&](auto half) ISOBIT_ALWAYS_INLINE {
      constexpr int i = 2 * half;
      pair[i] = _mm256_unpacklo_ps((__m256)r[i], (__m256)r[i + 1]);
      pair[i + 1] = _mm256_unpackhi_ps((__m256)r[i], (__m256)r[i + 1]);
    });
    simd::unroll<2>([&](auto quarter) ISOBIT_ALWAYS_INLINE {
      constexpr int i = 4 * quarter;
      four[i] = _mm256_shuffle_ps(pair[i], pair[i + 2], 0x44);
      four[i + 1] = _mm256_shuffle_ps(pair[i], pair[i + 2], 0xee);
      four[i + 2] = _mm256_shuffle_ps(pair[i + 1], pair[i + 3], 0x44);
      four[i + 3] = _mm256_shuffle_ps(pair[i + 1], pair[i + 3], 0xee);
    });
    simd::unroll<4>([&](auto i) ISOBIT_ALWAYS_INLINE {
      r[i] = (Reg)_mm256_permute2f128_ps(four[i], four[i + 4], 0x20);
      r[i + 4] = (Reg)_mm256_permute2f128_ps(four[i], four[i + 4], 0x31);
    });
  }
  static Reg load_f32(const float* p) { return (Reg)_mm256_loadu_ps(p); }
  static Reg load_codes(const std::int8_t* p) {
    const __m128i codes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
    return (Reg)_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(codes));
  }
  static Reg load_bf16(const std::uint16_t* p) {
    const __m128i half = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return (Reg)_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16);
  }
  static Reg load_fp16(const std::uint16_t* p) {
    return (Reg)_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static Ints load_shorts(const std::int16_t* p) {
    return (Ints)_mm256_cvtepi16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static void store_shorts(std::int16_t* p, Ints x) {
    const __m256i all = (__m256i)x;
    const __m128i low = _mm256_castsi256_si128(all), high = _mm256_extracti128_si256(all, 1);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm_packs_epi32(low, high));
  }
  /// In each byte the table's entry of the place that it holds, below 16.
  static Bits look_up(const std::int8_t* table, Bits places) {
    const __m128i values = _mm_loadu_si128(reinterpret_cast<const __m128i*>(table));
    return (Bits)_mm256_shuffle_epi8(_mm256_broadcastsi128_si256(values), (__m256i)places);
  }
  static Reg round_fp16(Reg x) {
    const __m128i half = _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT);
    return simd::canonical<Float256>((Reg)_mm256_cvtph_ps(half));
  }
};

struct Double256 : simd::Vector<double, 32> {
  static constexpr int kRows = 6, kColumns = 2, kAccumulators = 12;
  static __m256i first(int n) {
    return _mm256_cmpgt_epi64(_mm256_set1_epi64x(n), _mm256_setr_epi64x(0, 1, 2, 3));
  }
  static Reg set1(double x) { return (Reg)_mm256_set1_pd(x); }
  static Reg fma(Reg a, Reg b, Reg c) { return (Reg)_mm256_fmadd_pd(a, b, c); }
  static void accumulate(Reg& sum, Reg a, Reg b) {
    __asm__ volatile("vfmadd231pd %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
  }
  static Reg sqrt(Reg x) { return (Reg)_mm256_sqrt_pd(x); }
  static Reg load_n(const double* p, int n) { return (Reg)_mm256_maskload_pd(p, first(n)); }
  static void store_n(double* p, int n, Reg x) { _mm256_maskstore_pd(p, first(n), x); }
  static Reg load_f32(const float* p) { return (Reg)_mm256_cvtps_pd(_mm_loadu_ps(p)); }
  static Reg load_bf16(const std::uint16_t* p) {
    const __m128i half = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
    const __m128i wide = _mm_slli_epi32(_mm_cvtepu16_epi32(half), 16);
    return (Reg)_mm256_cvtps_pd(_mm_castsi128_ps(wide));
  }
  static Reg load_fp16(const std::uint16_t* p) {
    const __m128i half = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
    return (Reg)_mm256_cvtps_pd(_mm_cvtph_ps(half));
  }
};

}  // namespace

const Kernels* avx2_kernels() {
  static const Kernels kernels{"avx2", simd::table<Float256>(), simd::table<Double256>()};
  // These ask the processor and, through XGETBV, the operating system. F16C came before AVX2.
  static const bool present = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  return present ? &kernels : nullptr;
}

}  // namespace isobit::cpu

#else

namespace isobit::cpu {
const Kernels* avx2_kernels() {
  return nullptr;
}
}  // namespace isobit::cpu

#endif
