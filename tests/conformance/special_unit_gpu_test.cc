// The special function unit and CUDA's functions on it: the GPU against the literal text, all 2^32
// inputs of each (NUMERICS.md, "The special function unit").
#include "tests/conformance/cuda_pair.h"

#if defined(ISOBIT_HAVE_CUDA)

#include <algorithm>
#include <cstdio>
#include <set>

#include "runtime/backends/cuda/device/device.h"
#include "runtime/numerics/cuda_functions.h"
#include "tests/conformance/special_unit_gpu.h"

namespace isobit::cuda_test {
namespace {

constexpr std::uint32_t kMantissa = 0x7fffffu, kOne = 0x3f800000u;
constexpr std::size_t kPrinted = 64;

struct Row {
  const char* name;
  SpecialFunction function;
  std::int64_t inputs;  // that the text speaks of
};
constexpr std::int64_t kAll = std::int64_t(1) << 32;
const std::int64_t kAngles = 2 * std::int64_t(bits_of(kLargestCudaAngle));
const Row kRows[] = {{"ex2", SpecialFunction::ex2, kAll},
                     {"rcp", SpecialFunction::rcp, kAll},
                     {"rsqrt", SpecialFunction::rsqrt, kAll},
                     {"exp", SpecialFunction::exp, kAll},
                     {"cos", SpecialFunction::cos, kAngles},
                     {"sin", SpecialFunction::sin, kAngles},
                     {"log", SpecialFunction::log, 0x7f800000 - 0x00800000},
                     {"silu", SpecialFunction::silu, kAll}};

std::string text_of(const SpecialDifference& d) {
  char text[64];
  std::snprintf(text, sizeof text, "input %08x chip %08x text %08x", d.input, d.chip, d.text);
  return text;
}

/// Only a GPU whose unit is Hopper's.
void need_hopper() {
  need_gpu();
  if (::testing::Test::IsSkipped() || ::testing::Test::HasFatalFailure()) return;
  const auto gpu = cuda::gpu_of_rank(0);
  ASSERT_TRUE(gpu.has_value()) << gpu.error().text();
  if (gpu->capability != 90) {
    GTEST_SKIP() << "the tables are of capability 90, and " << gpu->name << " has "
                 << gpu->capability;
  }
}

class SpecialUnitGpu : public ::testing::TestWithParam<Row> {
 protected:
  void SetUp() override { need_hopper(); }
};
INSTANTIATE_TEST_SUITE_P(Function, SpecialUnitGpu, ::testing::ValuesIn(kRows),
                         [](const auto& of) { return std::string(of.param.name); });

TEST_P(SpecialUnitGpu, EveryInputHasTheChipsBits) {
  const SpecialComparison found = compare_special(GetParam().function);
  ASSERT_EQ(found.error, "");
  EXPECT_EQ(found.compared, GetParam().inputs);
  EXPECT_EQ(found.different, 0) << (found.differences.empty()
                                        ? ""
                                        : "first: " + text_of(found.differences[0]));
}

class SpecialLogarithmGpu : public ::testing::Test {
 protected:
  void SetUp() override { need_hopper(); }
};

/// The text of lg2 is not whole: some mantissas differ in every binade, and some inputs below 1.
/// From 1 on all else is the chip's. The mantissas are those of the first binade that differ.
TEST_F(SpecialLogarithmGpu, InputsFromOneOnHaveTheChipsBitsButForTwoMantissas) {
  const SpecialComparison found = compare_special(SpecialFunction::lg2);
  ASSERT_EQ(found.error, "");
  EXPECT_EQ(found.compared, kAll);
  std::printf("lg2: %lld of 2^32 differ\n", static_cast<long long>(found.different));
  for (std::size_t i = 0; i < std::min(kPrinted, found.differences.size()); ++i) {
    std::printf("lg2: %s\n", text_of(found.differences[i]).c_str());
  }
  ASSERT_LE(found.different, kMostSpecialDifferences);
  std::set<std::uint32_t> listed;
  for (const SpecialDifference& d : found.differences) {
    if (d.input >> 23 == 1) listed.insert(d.input & kMantissa);
  }
  for (const std::uint32_t mantissa : listed) std::printf("lg2: mantissa %06x\n", mantissa);
  EXPECT_LE(listed.size(), 2u);
  std::size_t others = 0;
  for (const SpecialDifference& d : found.differences) {
    if (listed.count(d.input & kMantissa) != 0) continue;
    if (++others <= kPrinted) std::printf("lg2: other mantissa: %s\n", text_of(d).c_str());
    EXPECT_FALSE(d.input >= kOne && d.input < 0x80000000u) << text_of(d);
  }
}

}  // namespace
}  // namespace isobit::cuda_test

#endif
