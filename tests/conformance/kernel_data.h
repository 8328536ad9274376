// What the kernel conformance tests share: the tables under test, adversarial data from a printed
// seed, and a comparison of bits that names the first difference.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/backends/cpu/kernels/kernels.h"
#include "runtime/numerics/bits.h"

namespace isobit::cpu::testing {

enum class Data { plain, wide, cancelling, special };
inline constexpr Data kEveryData[] = {Data::plain, Data::wide, Data::cancelling, Data::special};

/// splitmix64.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}
  std::uint64_t bits() {
    state_ += 0x9e3779b97f4a7c15ull;
    std::uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
  }
  std::int64_t below(std::int64_t n) { return std::int64_t(bits() % std::uint64_t(n)); }
  /// Uniform in (-1, 1), all 24 (53) bits used.
  double unit() { return double(std::int64_t(bits()) >> 11) * 0x1p-52; }

 private:
  std::uint64_t state_;
};

template <class T>
T signalling_nan() {
  if constexpr (sizeof(T) == 4) return float_of(0x7fa00001u);
  if constexpr (sizeof(T) == 8) return double_of(0x7ff4000000000001ull);
}

template <class T>
T special_value(Random& random) {
  const bool single = sizeof(T) == 4;
  switch (random.below(40)) {
    case 0:
      return canonical_nan(T(0));
    case 1:
      return single ? T(float_of(0x7f800000u)) : T(double_of(0x7ff0000000000000ull));
    case 2:
      return single ? T(float_of(0xff800000u)) : T(double_of(0xfff0000000000000ull));
    case 3:
      return signalling_nan<T>();
    case 4:
    case 5:
      return T(-0.0);
    case 6:
    case 7:
      return T(0);
    case 8:
    case 9:
      return T(single ? 0x1p-149 * double(random.below(1 << 23)) : 0x1p-1074);
    case 10:
      return T(single ? 0x1.fffffep+127 : 0x1.fffffffffffffp+1023);
    default:
      return T(random.unit() * 3);
  }
}

template <class T>
std::vector<T> make_data(Data data, std::int64_t n, std::uint64_t seed) {
  Random random(seed);
  std::vector<T> x(std::size_t(n), T(0));
  for (std::size_t i = 0; i < x.size(); ++i) {
    switch (data) {
      case Data::plain:
        x[i] = T(random.unit());
        break;
      case Data::wide: {  // 60 binades
        const int e = int(random.below(60)) - 30;
        x[i] = T(random.unit() * double_of(std::uint64_t(1023 + e) << 52));
        break;
      }
      case Data::cancelling:
        x[i] = i % 2 == 1 && random.below(4) != 0 ? -x[i - 1] : T(random.unit() * 1e4);
        break;
      case Data::special:
        x[i] = random.below(8) == 0 ? special_value<T>(random) : T(random.unit());
    }
  }
  return x;
}

/// Bits equal, every NaN canonical. One line for the first difference.
template <class T>
::testing::AssertionResult same(const std::vector<T>& want, const std::vector<T>& got) {
  if (want.size() != got.size()) return ::testing::AssertionFailure() << "sizes differ";
  std::size_t different = 0, first = 0;
  for (std::size_t i = want.size(); i-- > 0;) {
    if (!same_bits(want[i], got[i])) {
      ++different;
      first = i;
    }
  }
  if (different == 0) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure()
         << different << " of " << want.size() << " differ, first at " << first << ": scalar "
         << std::hex << bits_of(want[first]) << ", got " << bits_of(got[first]);
}

template <class T>
bool canonical_nans(const std::vector<T>& x) {
  for (const T value : x) {
    if (is_nan(value) && !same_bits(value, canonical_nan(value))) return false;
  }
  return true;
}

/// A comparison of nothing proves nothing: some finite value other than zero.
template <class T>
bool has_substance(const std::vector<T>& x) {
  for (const T value : x) {
    if (is_finite(value) && value != T(0)) return true;
  }
  return false;
}

template <class T>
const KernelsOf<T>& typed(const Kernels& kernels) {
  if constexpr (sizeof(T) == 4) return kernels.f32;
  if constexpr (sizeof(T) == 8) return kernels.f64;
}

template <class T>
std::vector<Format> formats() {
  if constexpr (sizeof(T) == 8) return {Format::f64};
  return {Format::f32, Format::tf32, Format::bf16, Format::fp16, Format::e4m3, Format::e5m2};
}

constexpr const char* kSimdIsas[] = {"avx2", "avx512", "neon"};

/// The table of an isa other than scalar, or null when this machine or build has none.
inline const Kernels* simd_kernels(const std::string& isa) {
  return isa == "avx2"     ? avx2_kernels()
         : isa == "avx512" ? avx512_kernels()
         : isa == "neon"   ? neon_kernels()
                           : nullptr;
}

/// The suite's parameter is the isa; a machine without it skips, visibly.
class KernelTable : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    const std::string isa = GetParam();
    table_ = simd_kernels(isa);
    if (table_ == nullptr) GTEST_SKIP() << "this machine or build has no " << isa;
    ASSERT_EQ(isa, table_->isa);
    ASSERT_NE(table_->f32.gemm, scalar_kernels().f32.gemm);
    ASSERT_NE(table_->f64.attention, scalar_kernels().f64.attention);
  }
  template <class T>
  const KernelsOf<T>& simd() const {
    return typed<T>(*table_);
  }
  template <class T>
  const KernelsOf<T>& scalar() const {
    return typed<T>(scalar_kernels());
  }

 private:
  const Kernels* table_ = nullptr;
};

}  // namespace isobit::cpu::testing
