// Twelve chains a thread: enough to cover the latency of two units, few enough for the registers.
// The empty assembler statements keep the compiler from joining or dropping chains.

#include "runtime/backends/cpu/kernels/fma_peak.h"

#include <algorithm>
#include <chrono>
#include <thread>
#include <vector>

#include "runtime/backends/cpu/kernels/kernels.h"
#include "runtime/numerics/platform.h"

#if defined(__AVX2__) && defined(__FMA__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace isobit::cpu {
namespace {

using detail::kFmaChains;

template <class T>
int scalar_rounds(long rounds) {
  T sum[kFmaChains] = {};
  const T a = T(0.999), b = T(0.001);
  for (long r = 0; r < rounds; ++r) {
    for (T& s : sum) {
      s = fma_(a, s, b);
#if defined(__aarch64__)
      asm volatile("" : "+w"(s));
#elif defined(__x86_64__)
      asm volatile("" : "+x"(s));
#endif
    }
  }
  return 1;
}

#if defined(__AVX2__) && defined(__FMA__)
int vector_rounds(long rounds, bool wide) {
  if (wide) {
    __m256d sum[kFmaChains] = {};
    const __m256d a = _mm256_set1_pd(0.999), b = _mm256_set1_pd(0.001);
    for (long r = 0; r < rounds; ++r) {
#pragma GCC unroll 12
      for (int i = 0; i < kFmaChains; ++i) {
        sum[i] = _mm256_fmadd_pd(a, sum[i], b);
        asm volatile("" : "+x"(sum[i]));
      }
    }
    return 4;
  }
  __m256 sum[kFmaChains] = {};
  const __m256 a = _mm256_set1_ps(0.999F), b = _mm256_set1_ps(0.001F);
  for (long r = 0; r < rounds; ++r) {
#pragma GCC unroll 12
    for (int i = 0; i < kFmaChains; ++i) {
      sum[i] = _mm256_fmadd_ps(a, sum[i], b);
      asm volatile("" : "+x"(sum[i]));
    }
  }
  return 8;
}
constexpr const char* kVectorSet = "avx2";
#elif defined(__aarch64__)
int vector_rounds(long rounds, bool wide) {
  if (wide) {
    float64x2_t sum[kFmaChains] = {};
    const float64x2_t a = vdupq_n_f64(0.999), b = vdupq_n_f64(0.001);
    for (long r = 0; r < rounds; ++r) {
      for (auto& s : sum) {
        s = vfmaq_f64(b, a, s);
        asm volatile("" : "+w"(s));
      }
    }
    return 2;
  }
  float32x4_t sum[kFmaChains] = {};
  const float32x4_t a = vdupq_n_f32(0.999F), b = vdupq_n_f32(0.001F);
  for (long r = 0; r < rounds; ++r) {
    for (auto& s : sum) {
      s = vfmaq_f32(b, a, s);
      asm volatile("" : "+w"(s));
    }
  }
  return 4;
}
constexpr const char* kVectorSet = "neon";
#else
int vector_rounds(long, bool) {
  return 0;
}
constexpr const char* kVectorSet = "";
#endif

/// Lanes of one FMA of the set; 0: cannot run here.
int run_rounds(const std::string& isa, long rounds, bool wide) {
  if (isa == "scalar") return wide ? scalar_rounds<double>(rounds) : scalar_rounds<float>(rounds);
  if (isa == kVectorSet) return vector_rounds(rounds, wide);
  if (isa == "avx512" && avx512_kernels() != nullptr) {
    return detail::fma_rounds_avx512(rounds, wide);
  }
  return 0;
}

}  // namespace

double fma_peak_gflops(const std::string& isa, int threads, bool wide) {
  using Clock = std::chrono::steady_clock;
  constexpr long kRounds = 1'000'000;
  const int lanes = run_rounds(isa, kRounds / 10, wide);
  if (lanes == 0) return 0;
  double best = 0;
  for (int attempt = 0; attempt < 5; ++attempt) {
    const Clock::time_point start = Clock::now();
    {
      std::vector<std::jthread> team;
      for (int i = 1; i < threads; ++i) team.emplace_back([&] { run_rounds(isa, kRounds, wide); });
      run_rounds(isa, kRounds, wide);
    }
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    best = std::max(best, 2.0 * lanes * kFmaChains * double(kRounds) * threads / seconds);
  }
  return best / 1e9;
}

}  // namespace isobit::cpu
