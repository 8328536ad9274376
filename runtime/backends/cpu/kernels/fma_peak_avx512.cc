// The AVX-512 part of fma_peak.h; called only where avx512_kernels() says so.
#include "runtime/backends/cpu/kernels/fma_peak.h"

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

namespace isobit::cpu::detail {

#if defined(__AVX512F__)
int fma_rounds_avx512(long rounds, bool wide) {
  if (wide) {
    __m512d sum[kFmaChains] = {};
    const __m512d a = _mm512_set1_pd(0.999), b = _mm512_set1_pd(0.001);
    for (long r = 0; r < rounds; ++r) {
#pragma GCC unroll 12
      for (int i = 0; i < kFmaChains; ++i) {
        sum[i] = _mm512_fmadd_pd(a, sum[i], b);
        asm volatile("" : "+v"(sum[i]));
      }
    }
    return 8;
  }
  __m512 sum[kFmaChains] = {};
  const __m512 a = _mm512_set1_ps(0.999F), b = _mm512_set1_ps(0.001F);
  for (long r = 0; r < rounds; ++r) {
#pragma GCC unroll 12
    for (int i = 0; i < kFmaChains; ++i) {
      sum[i] = _mm512_fmadd_ps(a, sum[i], b);
      asm volatile("" : "+v"(sum[i]));
    }
  }
  return 16;
}
#else
int fma_rounds_avx512(long, bool) {
  return 0;
}
#endif

}  // namespace isobit::cpu::detail
