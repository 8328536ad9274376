// The floating-point mode: every bit of the control word that changes results is refused while it
// is set, and put back after a callee that leaves it set.
#include <gtest/gtest.h>

#include "runtime/numerics/probes.h"

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace isobit {
namespace {

#if defined(__x86_64__)
std::uint64_t control_word() {
  return _mm_getcsr() & 0xffc0u;
}
void set_control_word(std::uint64_t word) {
  _mm_setcsr(std::uint32_t(word));
}
constexpr std::uint64_t kModes[] = {0x2000, 0x4000, 0x6000, 0x8000, 0x0040};
#elif defined(__aarch64__)
std::uint64_t control_word() {
  std::uint64_t word;
  asm volatile("mrs %0, fpcr" : "=r"(word));
  return word;
}
void set_control_word(std::uint64_t word) {
  asm volatile("msr fpcr, %0" : : "r"(word));
}
// RMode, FZ, FZ16, DN, AHP, and FIZ, AH, NEP of Armv8.7.
constexpr std::uint64_t kModes[] = {1ull << 22, 2ull << 22, 3ull << 22, 1ull << 24, 1ull << 19,
                                    1ull << 25, 1ull << 26, 1ull << 0,  1ull << 1,  1ull << 2};
#endif

/// Sets mode bits until the end of the scope. A machine that lacks a bit leaves it clear.
class Changed {
 public:
  explicit Changed(std::uint64_t bits) : before_(control_word()) {
    set_control_word(before_ | bits);
    took_ = (control_word() & bits) == bits;
  }
  ~Changed() { set_control_word(before_); }
  [[nodiscard]] bool took() const { return took_; }

 private:
  std::uint64_t before_;
  bool took_;
};

TEST(FloatingPointMode, EveryBitThatChangesResultsIsRefused) {
  ASSERT_TRUE(check_floating_point_mode().has_value());
  int taken = 0;
  for (const std::uint64_t bits : kModes) {
    bool took = false, accepted = false;
    {
      const Changed changed(bits);
      took = changed.took();
      accepted = check_floating_point_mode().has_value();
    }
    taken += took ? 1 : 0;
    EXPECT_EQ(accepted, !took) << std::hex << bits;
  }
  RecordProperty("bits", taken);
  EXPECT_GE(taken, 5);  // at least rounding and flushing
  EXPECT_TRUE(check_floating_point_mode().has_value());
}

TEST(FloatingPointMode, ACalleeThatLeavesAModeSetIsNamedAndUndone) {
  const std::uint64_t before = control_word();
  for (const std::uint64_t bits : kModes) {
    FloatingPointGuard guard;
    set_control_word(before | bits);
    const bool took = control_word() != before;
    const Result<void> result = guard.restore("a library");
    EXPECT_EQ(result.has_value(), !took) << std::hex << bits;
    if (!result) {
      EXPECT_NE(result.error().text().find("a library"), std::string::npos);
    }
    EXPECT_EQ(control_word(), before);
  }
  {
    const FloatingPointGuard guard;  // also when nobody asks
    set_control_word(before | kModes[0]);
  }
  EXPECT_EQ(control_word(), before);
}

TEST(FloatingPointMode, TheStartUpProbesRefuseIt) {
  ASSERT_TRUE(run_numeric_probes().has_value());
  const Changed changed(kModes[3]);
  EXPECT_FALSE(run_numeric_probes().has_value());
}

}  // namespace
}  // namespace isobit
