// Errors of numerics/functions.h against MPFR, in units in the last place of the true value.
//
// A program for the hand, not for CI (minutes):
//   g++ -std=c++20 -O2 -march=haswell -ffp-contract=off -I. -o functions_mpfr
//       tests/conformance/oracle/functions_mpfr.cc -lmpfr -lgmp -lpthread
//   ./functions_mpfr            fp64 functions, 2,000,000 samples each
//   ./functions_mpfr gates      fp32 silu and gelu-tanh, every 1009th input
//   ./functions_mpfr exp32      every one of the 2^32 inputs of the fp32 exp
// Results are kept in tests/bench/numerics-proofs.txt.
#include <mpfr.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>

#include "runtime/numerics/functions.h"

namespace {

using namespace isobit;

class Big {
 public:
  explicit Big(mpfr_prec_t bits = 160) { mpfr_init2(value_, bits); }
  ~Big() { mpfr_clear(value_); }
  Big(const Big&) = delete;
  Big& operator=(const Big&) = delete;
  mpfr_ptr get() { return value_; }

 private:
  mpfr_t value_;
};

/// |y - truth| in units of the last place of truth, for a format of `digits` bits.
double error_ulp(double y, mpfr_ptr truth, int digits, int least_exponent) {
  if (mpfr_zero_p(truth)) return y == 0 ? 0 : INFINITY;
  Big difference;
  mpfr_sub_d(difference.get(), truth, y, MPFR_RNDN);
  const long unit = std::max<long>(mpfr_get_exp(truth) - digits, least_exponent);
  mpfr_mul_2si(difference.get(), difference.get(), -unit, MPFR_RNDN);
  return std::fabs(mpfr_get_d(difference.get(), MPFR_RNDA));
}

struct Random {
  std::uint64_t state = 1;
  std::uint64_t bits() {
    std::uint64_t z = (state += 0x9e3779b97f4a7c15ull);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
  }
  double unit() { return double(bits() >> 11) * 0x1p-53; }
  double between(double a, double b) { return a + (b - a) * unit(); }
  /// Either sign, exponents uniform.
  double wide(int low, int high) {
    const std::uint64_t e = std::uint64_t(low + 1023) + bits() % std::uint64_t(high - low);
    return double_of((bits() & 0x800fffffffffffffull) | (e << 52));
  }
};

struct Function {
  const char* name;
  double (*ours)(double);
  void (*truth)(mpfr_ptr, double);
  double (*sample)(Random&);
  const char* domain;
};

template <int (*kFunction)(mpfr_ptr, mpfr_srcptr, mpfr_rnd_t)>
void mpfr_of(mpfr_ptr out, double x) {
  Big argument(53);
  mpfr_set_d(argument.get(), x, MPFR_RNDN);
  kFunction(out, argument.get(), MPFR_RNDN);
}

/// One in four samples is the double nearest to a multiple of pi/2: the worst case of reduction.
double angle(Random& random) {
  if (random.bits() % 4 != 0) {
    return random.bits() % 2 ? random.between(-0x1p+17, 0x1p+17) : random.wide(-40, 30);
  }
  static Big pi(200);
  static const int once = mpfr_const_pi(pi.get(), MPFR_RNDN);
  (void)once;
  Big product(200);
  mpfr_mul_ui(product.get(), pi.get(), random.bits() % 680000000, MPFR_RNDN);
  return mpfr_get_d(product.get(), MPFR_RNDN) / 2;
}

const Function kFunctions[] = {
    {"exp64", [](double x) { return exp_(x); }, mpfr_of<mpfr_exp>,
     [](Random& r) { return r.bits() % 2 ? r.between(-708, 709.7) : r.wide(-30, 9); },
     "[-708, 709.7], exponents uniform below"},
    {"exp64 subnormal", [](double x) { return exp_(x); }, mpfr_of<mpfr_exp>,
     [](Random& r) { return r.between(-745.2, -708); }, "[-745.2, -708]"},
    {"log64", [](double x) { return log_(x); }, mpfr_of<mpfr_log>,
     [](Random& r) {
       return r.bits() % 2 ? std::fabs(r.wide(-1022, 1023)) : 1 + r.wide(-40, -1) / 2;
     },
     "positive, exponents uniform; half around 1"},
    {"sin64", [](double x) { return sin_(x); }, mpfr_of<mpfr_sin>, angle, "|x| < 2^30"},
    {"cos64", [](double x) { return cos_(x); }, mpfr_of<mpfr_cos>, angle, "|x| < 2^30"},
    {"tanh64", [](double x) { return tanh_(x); }, mpfr_of<mpfr_tanh>,
     [](Random& r) { return r.bits() % 2 ? r.between(-23, 23) : r.wide(-40, 4); },
     "[-23, 23], exponents uniform below"},
    {"erf64", [](double x) { return erf_(x); }, mpfr_of<mpfr_erf>,
     [](Random& r) { return r.bits() % 2 ? r.between(-6.2, 6.2) : r.wide(-40, 2); },
     "[-6.2, 6.2], exponents uniform below"},
};

void measure(const Function& f, long samples) {
  Random random;
  Big truth;
  double worst = 0, at = 0;
  for (long i = 0; i < samples; ++i) {
    const double x = f.sample(random);
    f.truth(truth.get(), x);
    if (mpfr_cmpabs_ui(truth.get(), 0) != 0 && mpfr_get_exp(truth.get()) > 1024) continue;
    const double e = error_ulp(f.ours(x), truth.get(), 53, -1074);
    if (e > worst) worst = e, at = x;
  }
  std::printf("%-16s %9ld samples of %-42s max %.4f ulp at %a\n", f.name, samples, f.domain, worst,
              at);
}

/// silu and gelu-tanh in fp32 against MPFR, every `stride`-th input.
void measure_gates(std::uint32_t stride) {
  double worst[2] = {}, at[2] = {};
  Big x(24), t, u;
  long count = 0;
  for (std::uint64_t bits = 0; bits < (1ull << 32); bits += stride) {
    const float value = float_of(std::uint32_t(bits));
    if (!is_finite(value) || std::fabs(value) > 88.0f || std::fabs(value) < 0x1p-60f) continue;
    ++count;
    mpfr_set_flt(x.get(), value, MPFR_RNDN);
    mpfr_neg(t.get(), x.get(), MPFR_RNDN);
    mpfr_exp(t.get(), t.get(), MPFR_RNDN);
    mpfr_add_ui(t.get(), t.get(), 1, MPFR_RNDN);
    mpfr_div(t.get(), x.get(), t.get(), MPFR_RNDN);
    double e = error_ulp(double(silu_(value)), t.get(), 24, -149);
    if (e > worst[0]) worst[0] = e, at[0] = double(value);
    if (value < -8.0f) continue;  // gelu's tail is an absolute, not a relative matter
    mpfr_sqr(u.get(), x.get(), MPFR_RNDN);
    mpfr_mul_d(u.get(), u.get(), 0.044715, MPFR_RNDN);
    mpfr_add_ui(u.get(), u.get(), 1, MPFR_RNDN);
    mpfr_mul(u.get(), u.get(), x.get(), MPFR_RNDN);
    mpfr_mul_d(u.get(), u.get(), -1.5957691216057308, MPFR_RNDN);
    mpfr_exp(u.get(), u.get(), MPFR_RNDN);
    mpfr_add_ui(u.get(), u.get(), 1, MPFR_RNDN);
    mpfr_div(u.get(), x.get(), u.get(), MPFR_RNDN);
    e = error_ulp(double(gelu_tanh_(value)), u.get(), 24, -149);
    if (e > worst[1]) worst[1] = e, at[1] = double(value);
  }
  std::printf("silu32           %9ld inputs (every %uth, |x| <= 88) max %.3f ulp at %a\n", count,
              stride, worst[0], at[0]);
  std::printf("gelu_tanh32      the same inputs, x >= -8: max %.3f ulp at %a\n", worst[1], at[1]);
}

struct Exp32 {
  double worst = 0.5;  // a correctly rounded result is no news
  float at = 0;
  std::uint64_t compared = 0, wrong_special = 0, incorrectly_rounded = 0, checked_by_mpfr = 0;
};

/// Inputs [begin, end). The C library's fp64 exp (error below 0.6 of its own ulp, 2^-30 of ours)
/// finds candidates; every new maximum and everything within 1e-6 of it is decided by MPFR.
Exp32 measure_exp32(std::uint64_t begin, std::uint64_t end) {
  Exp32 result;
  Big truth, argument(24);
  for (std::uint64_t bits = begin; bits < end; ++bits) {
    const float x = float_of(std::uint32_t(bits));
    const float y = exp_(x);
    ++result.compared;
    if (is_nan(x)) {
      result.wrong_special += bits_of(y) != 0x7fc00000u;
      continue;
    }
    const double reference = std::exp(double(x));
    const float rounded = float(reference);
    if (!is_finite(rounded) || !is_finite(y) || x < -104.0f) {
      result.wrong_special += !same_bits(y, x < -104.0f ? 0.0f : rounded);
      continue;
    }
    result.incorrectly_rounded += !same_bits(y, rounded);
    int e = int((bits_of(reference) >> 52) & 2047) - 1023;
    e = e < -126 ? -126 : e;
    const double error =
        std::fabs(double(y) - reference) * double_of(std::uint64_t(1023 + 23 - e) << 52);
    if (error > result.worst - 1e-6) {
      mpfr_set_flt(argument.get(), x, MPFR_RNDN);
      mpfr_exp(truth.get(), argument.get(), MPFR_RNDN);
      const double exact = error_ulp(double(y), truth.get(), 24, -149);
      ++result.checked_by_mpfr;
      if (exact > result.worst) result.worst = exact, result.at = x;
    }
  }
  return result;
}

void run_exp32() {
  Exp32 part[2];
  std::thread other([&] { part[1] = measure_exp32(1ull << 31, 1ull << 32); });
  part[0] = measure_exp32(0, 1ull << 31);
  other.join();
  const Exp32& w = part[0].worst > part[1].worst ? part[0] : part[1];
  std::printf(
      "exp32            %llu inputs (all), max %.6f ulp at %a; not correctly rounded %llu; "
      "wrong at a special value %llu; decided by MPFR %llu\n",
      static_cast<unsigned long long>(part[0].compared + part[1].compared), w.worst, double(w.at),
      static_cast<unsigned long long>(part[0].incorrectly_rounded + part[1].incorrectly_rounded),
      static_cast<unsigned long long>(part[0].wrong_special + part[1].wrong_special),
      static_cast<unsigned long long>(part[0].checked_by_mpfr + part[1].checked_by_mpfr));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1 && std::strcmp(argv[1], "exp32") == 0) {
    run_exp32();
    return 0;
  }
  if (argc > 1 && std::strcmp(argv[1], "gates") == 0) {
    measure_gates(1009);
    return 0;
  }
  const long samples = argc > 1 ? std::atol(argv[1]) : 2000000;
  for (const Function& f : kFunctions) measure(f, samples);
  return 0;
}
