#include "runtime/numerics/probes.h"

#include <cfenv>
#include <cstdio>

#include "runtime/numerics/formats.h"
#include "runtime/numerics/functions.h"

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace isobit {
namespace {

/// Bits of the control word that change results, and what they do.
struct ModeBits {
  std::uint64_t bits;
  const char* trouble;
};

#if defined(__x86_64__)
// MXCSR, whose six sticky flags are state, not mode. Above it the x87 control word: nothing here
// computes with x87, but the C library reads its rounding there, printf's among others, and
// fesetround() sets both.
constexpr std::uint64_t kStickyFlags = 0x3f;
constexpr int kX87 = 32;  // bits below the x87 control word
constexpr ModeBits kModeBits[] = {
    {0x6000, "rounding is not to nearest even"},
    {0x8000, "subnormal results are flushed to zero"},
    {0x0040, "subnormal operands are treated as zero"},
    {0x0c00ull << kX87, "x87 rounding is not to nearest even"},
};
std::uint64_t control_word() {
  std::uint16_t x87 = 0;
  asm volatile("fnstcw %0" : "=m"(x87));
  return _mm_getcsr() | std::uint64_t(x87) << kX87;
}
void set_control_word(std::uint64_t word) {
  const auto x87 = std::uint16_t(word >> kX87);
  _mm_setcsr(std::uint32_t(word));
  asm volatile("fldcw %0" : : "m"(x87));
}
#elif defined(__aarch64__)
// FPCR; the sticky flags live in FPSR. FIZ, AH and NEP came with Armv8.7 and read as zero before.
constexpr std::uint64_t kStickyFlags = 0;
constexpr ModeBits kModeBits[] = {
    {3ull << 22, "rounding is not to nearest even (RMode)"},
    {1ull << 24, "subnormal numbers are flushed to zero (FZ)"},
    {1ull << 19, "fp16 subnormal numbers are flushed to zero (FZ16)"},
    {1ull << 0, "subnormal operands are treated as zero (FIZ)"},
    {1ull << 1, "alternate handling of floating-point numbers is on (AH)"},
    {1ull << 26, "fp16 is the alternative format without infinities (AHP)"},
    {1ull << 25, "every NaN becomes the default NaN (DN)"},
    {1ull << 2, "scalar operations merge into vectors (NEP)"},
};
std::uint64_t control_word() {
  std::uint64_t word;
  asm volatile("mrs %0, fpcr" : "=r"(word));
  return word;
}
void set_control_word(std::uint64_t word) {
  asm volatile("msr fpcr, %0" : : "r"(word));
}
#else
#error "no floating-point control word is known for this processor"
#endif

std::string hex(std::uint64_t value) {
  char text[24];
  std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(value));
  return text;
}

/// What is wrong with a control word, or empty.
std::string mode_trouble(std::uint64_t word) {
  for (const ModeBits& mode : kModeBits) {
    if (word & mode.bits) return mode.trouble;
  }
  return "";
}

/// Keeps a value from being folded by the compiler: the machine must do the operation.
template <class T>
T opaque(T value) {
  volatile T hidden = value;
  return hidden;
}
float f(std::uint32_t bits) {
  return opaque(float_of(bits));
}
double d(std::uint64_t bits) {
  return opaque(double_of(bits));
}

struct Probe {
  const char* name;
  std::uint64_t got;
  std::uint64_t want;
};

Result<void> compare(const Probe* probes, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) {
    if (probes[i].got != probes[i].want) {
      return Error{std::string("numeric probe ") + probes[i].name + ": got " + hex(probes[i].got) +
                       ", expected " + hex(probes[i].want) +
                       "; this machine or build cannot give family F's bits",
                   ""};
    }
  }
  return {};
}

Result<void> probe_fp32() {
  const Probe probes[] = {
      // (1 + 2^-23)^2 - (1 + 2^-22) = 2^-46 only when fused.
      {"fp32 fma is fused", bits_of(fma_(f(0x3f800001), f(0x3f800001), -f(0x3f800002))),
       0x28800000},
      // The same written as multiply and subtract must not be contracted.
      {"fp32 a*b-c is not contracted", bits_of(f(0x3f800001) * f(0x3f800001) - f(0x3f800002)), 0},
      // 1 + 2^-23 + 2^-24 - 2^-54: below the tie; through double it would be on the tie.
      {"fp32 fma rounds once", bits_of(fma_(f(0x33800100), f(0x3f7ffe00), f(0x3f800001))),
       0x3f800001},
      {"fp32 fma of subnormals", bits_of(fma_(f(0x00000001), f(0x40400000), f(0x00000001))), 4},
      {"fp32 subnormal sum", bits_of(f(0x00000001) + f(0x00000002)), 3},
      {"fp32 subnormal product", bits_of(f(0x00800000) * f(0x3f000000)), 0x00400000},
      {"fp32 tie to even, down", bits_of(f(0x4b800000) + f(0x3f800000)), 0x4b800000},
      {"fp32 tie to even, up", bits_of(f(0x4b800001) + f(0x3f800000)), 0x4b800002},
      {"fp32 division 1/3", bits_of(f(0x3f800000) / f(0x40400000)), 0x3eaaaaab},
      {"fp32 division to subnormal", bits_of(f(0x00800000) / f(0x40400000)), 0x002aaaab},
      {"fp32 sqrt 2", bits_of(sqrt_(f(0x40000000))), 0x3fb504f3},
      {"fp32 sqrt of a subnormal", bits_of(sqrt_(f(0x00000001))), 0x1a3504f3},
      {"fp32 -0 + +0", bits_of(f(0x80000000) + f(0)), 0},
      {"fp32 overflow", bits_of(f(0x7f7fffff) + f(0x7f7fffff)), 0x7f800000},
      {"exp(1)", bits_of(exp_(f(0x3f800000))), 0x402df854},
      {"exp(-0)", bits_of(exp_(f(0x80000000))), 0x3f800000},
      {"exp to subnormal", bits_of(exp_(f(0xc2ce8ecf))), 1},
  };
  return compare(probes, sizeof probes / sizeof probes[0]);
}

Result<void> probe_fp64() {
  const double one_up = d(0x3ff0000000000001ull);
  const Probe probes[] = {
      {"fp64 fma is fused", bits_of(fma_(one_up, one_up, -d(0x3ff0000000000002ull))),
       0x3970000000000000ull},
      {"fp64 a*b-c is not contracted", bits_of(one_up * one_up - d(0x3ff0000000000002ull)), 0},
      {"fp64 subnormal sum", bits_of(d(1) + d(2)), 3},
      {"fp64 tie to even", bits_of(d(0x4340000000000001ull) + d(0x3ff0000000000000ull)),
       0x4340000000000002ull},
      {"fp64 division 1/3", bits_of(d(0x3ff0000000000000ull) / d(0x4008000000000000ull)),
       0x3fd5555555555555ull},
      {"fp64 sqrt 2", bits_of(sqrt_(d(0x4000000000000000ull))), 0x3ff6a09e667f3bcdull},
      {"fp64 to fp32 tie to even", bits_of(float(d(0x3ff0000010000000ull))), 0x3f800000},
      {"fp64 to fp32 subnormal", bits_of(float(d(0x36a8000000000000ull))), 2},
      {"fp32 subnormal to fp64", bits_of(double(f(0x00000001))), 0x36a0000000000000ull},
      {"exp64(1)", bits_of(exp_(d(0x3ff0000000000000ull))), 0x4005bf0a8b14576aull},
      {"cos64(1)", bits_of(cos_(d(0x3ff0000000000000ull))), 0x3fe14a280fb5068cull},
      {"log64(2)", bits_of(log_(d(0x4000000000000000ull))), 0x3fe62e42fefa39efull},
  };
  return compare(probes, sizeof probes / sizeof probes[0]);
}

Result<void> probe_conversions() {
  const Probe probes[] = {
      {"bf16 tie to even, down", bf16_from_float(f(0x3f808000)), 0x3f80},
      {"bf16 tie to even, up", bf16_from_float(f(0x3f818000)), 0x3f82},
      {"bf16 subnormal", bf16_from_float(f(0x00018001)), 0x0002},
      {"bf16 overflow", bf16_from_float(f(0x7f7fffff)), 0x7f80},
      {"bf16 NaN", bf16_from_float(f(0xff800001)), 0x7fc0},
      {"fp16 tie to even", fp16_from_float(f(0x3f801000)), 0x3c00},
      {"fp16 subnormal tie", fp16_from_float(f(0x33000000)), 0x0000},
      {"fp16 subnormal above the tie", fp16_from_float(f(0x33000001)), 0x0001},
      {"fp16 overflow", fp16_from_float(f(0x477ff000)), 0x7c00},
      {"fp16 widened subnormal", bits_of(float_from_fp16(1)), 0x33800000},
      {"e4m3 saturation", e4m3_from_float(f(0x7f800000)), 0x7e},
      {"e4m3 subnormal tie", e4m3_from_float(f(0x3a800000)), 0x00},
      {"e4m3 NaN", e4m3_from_float(f(0x7fc00001)), 0x7f},
      {"e5m2 saturation", e5m2_from_float(f(0xff800000)), 0xfb},
      {"e5m2 tie to even", e5m2_from_float(f(0x3f900000)), 0x3c},
      {"tf32 tie to even", bits_of(round_tf32(f(0x3f801000))), 0x3f800000},
      {"tf32 above the tie", bits_of(round_tf32(f(0x3f801001))), 0x3f802000},
  };
  return compare(probes, sizeof probes / sizeof probes[0]);
}

}  // namespace

Result<void> check_floating_point_mode() {
  const std::uint64_t word = control_word();
  const std::string trouble = mode_trouble(word);
  if (trouble.empty()) return {};
  return Error{"numeric probe floating-point mode: " + trouble + " (control word " + hex(word) +
                   "); a library or a compiler flag such as -ffast-math has set it",
               ""};
}

Result<void> run_numeric_probes() {
  using ProbeSet = Result<void> (*)();
  for (const ProbeSet probe : {ProbeSet(check_floating_point_mode), ProbeSet(probe_fp32),
                               ProbeSet(probe_fp64), ProbeSet(probe_conversions)}) {
    Result<void> result = probe();
    ISOBIT_TRY(result);
  }
  return {};
}

FloatingPointGuard::FloatingPointGuard() : saved_(control_word()) {}

FloatingPointGuard::~FloatingPointGuard() {
  if (!restored_) set_control_word(saved_);
}

Result<void> FloatingPointGuard::restore(const std::string& callee) {
  const std::uint64_t left = control_word();
  set_control_word(saved_);
  restored_ = true;
  const std::string trouble = mode_trouble(saved_);
  if (!trouble.empty()) return Error{"before " + callee + ": " + trouble, callee};
  if ((left | kStickyFlags) != (saved_ | kStickyFlags)) {
    const std::string what = mode_trouble(left);
    return Error{callee + " changed the floating-point control word from " + hex(saved_) + " to " +
                     hex(left) + (what.empty() ? "" : ": " + what),
                 callee};
  }
  return {};
}

}  // namespace isobit
