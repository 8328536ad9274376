// Fused attention of libraries: every instruction set's fast path against the literal text of
// numerics/fused.h, and what a kernel cannot compute.
#include <cmath>

#include "runtime/backends/fused_calls.h"
#include "tests/conformance/fused_scene.h"
#include "tests/conformance/kv_cases.h"

namespace isobit::fused_test {
namespace {

using kv_test::Cell;

/// A backend that says it is the one that was asked for.
std::unique_ptr<Backend> backend_that_is(const Case& c, const std::string& isa, int threads) {
  auto backend = flash_test::backend_of(c, isa, threads);
  if (backend == nullptr) return backend;
  const BackendInfo info = backend->describe();
  EXPECT_EQ(info.engine, "model:sm90");
  EXPECT_EQ(info.device, "cpu");
  EXPECT_EQ(info.isa, isa);
  EXPECT_EQ(info.attention, "reference");  // nothing has run
  return backend;
}

class Fused : public ::testing::TestWithParam<const char*> {
 protected:
  /// The literal text is computed once for all instruction sets.
  static void compare(const std::vector<Case>& cases) {
    std::uint64_t seed = 100;
    int compared = 0, there = 0;
    for (const char* isa : {"scalar", "avx2", "avx512", "neon"}) {
      if (cpu::kernels_named(isa) != nullptr) ++there;
    }
    for (const Case& c : cases) {
      const Scene scene(c, seed += 10);
      const std::vector<double> want = literal(c, scene);
      EXPECT_TRUE(!has_substance(c) || cpu::testing::has_substance(want)) << c;
      for (const char* isa : {"scalar", "avx2", "avx512", "neon"}) {
        for (const int threads : {1, 3}) {
          const auto backend = backend_that_is(c, isa, threads);
          if (backend == nullptr) continue;
          EXPECT_TRUE(cpu::testing::same(want, scene.run(*backend))) << isa << " " << c;
          EXPECT_EQ(backend->describe().attention, c.schedule);
          ++compared;
        }
      }
    }
    EXPECT_GE(there, 1);
    EXPECT_EQ(compared, 2 * there * int(cases.size()));
  }
};
INSTANTIATE_TEST_SUITE_P(Kernel, Fused, ::testing::ValuesIn(kFusedKernels), kernel_name);

TEST_P(Fused, EveryInstructionSetEqualsTheLiteralText) {
  compare(cases_of(GetParam()));
}

TEST(FusedHeads, WideOnesAreFlashAttention2s) {
  std::uint64_t seed = 7;
  for (const Case& c : wide_heads()) {
    const Scene scene(c, ++seed);
    const auto backend = backend_that_is(c, "scalar", 1);
    EXPECT_TRUE(cpu::testing::same(literal(c, scene), scene.run(*backend))) << c;
  }
  const Case c = wide_heads()[0];
  const auto calls = fused_calls({FusedKernel::efficient, 0}, Scene(c, 1).arguments());
  ASSERT_FALSE(calls);
  EXPECT_EQ(calls.error().message, "attention fused has no heads of width 136");
}

/// Splits are FlashAttention-2's alone, and decide bits.
TEST(FusedSplits, TheCasesHaveThem) {
  int with = 0, without = 0;
  for (const char* kernel : kFusedKernels) {
    for (const Case& c : cases_of(kernel)) {
      if (splits_of(c) == 1) {
        ++without;
      } else {
        EXPECT_EQ(c.schedule, "fused:fa2");
        ++with;
      }
    }
  }
  EXPECT_GE(with, 10);
  EXPECT_GE(without, 10);
}

/// Another order of the same sum: near the reference, and not equal to it; nor are two kernels.
TEST_P(Fused, IsNearTheReferencesOrder) {
  Case c;
  c.schedule = GetParam();
  c.precision = Precision::fp16;
  c.ascending = true;
  c.lengths = {300, 200};
  const Scene scene(c, 5);
  const std::vector<double> fused = scene.run(*backend_that_is(c, "scalar", 1));
  c.schedule = "reference";
  const std::vector<double> reference = scene.run(*flash_test::backend_of(c, "scalar"));
  double worst = 0;
  for (std::size_t i = 0; i < fused.size(); ++i) {
    worst = std::max(worst, std::abs(fused[i] - reference[i]));
  }
  EXPECT_GT(worst, 0);
  EXPECT_LT(worst, 0x1p-8);
}

TEST(FusedRows, WhatAKernelLacksIsSaid) {
  const auto why = [](const auto& change) {
    Case c;
    c.ascending = true;
    change(c);
    const Scene scene(c, 3);
    const auto calls = fused_calls({FusedKernel::fa2, 0}, scene.arguments());
    return calls ? std::string() : calls.error().message;
  };
  EXPECT_EQ(why([](Case&) {}), "");
  EXPECT_EQ(why([](Case& c) { c.softcap = 2; }), "attention fused has no soft cap");
  EXPECT_EQ(why([](Case& c) { c.window = 9; }), "attention fused has no sliding window");
  EXPECT_EQ(why([](Case& c) { c.evict = 3; }), "attention fused has no evicted keys");
}

TEST(FusedPrecision, IsOfSixteenBits) {
  BackendOptions options;
  options.engine = *parse_engine("model:sm90");
  options.attention = *parse_flash("fused:fa2");
  EXPECT_EQ(unsupported_reason(options, mode_of(Precision::bf16)), "");
  EXPECT_EQ(unsupported_reason(options, mode_of(Precision::fp8_e4m3)), "");
  EXPECT_EQ(unsupported_reason(options, mode_of(Precision::tf32)),
            "attention fused:fa2 is in bf16 or fp16, not tf32");
}

/// Whole generations: neither instruction set nor threads show.
TEST_P(Fused, ModelsHaveOneDigestOnEveryInstructionSet) {
  Runtime runtime{kv_test::model()};
  std::string want;
  for (const char* isa : {"scalar", "avx2", "avx512", "neon", "auto"}) {
    for (const int threads : {1, 2}) {
      Cell cell;
      cell.isa = isa, cell.threads = threads, cell.batch = 3;
      GenerateRequest r = kv_test::request(Precision::bf16, "exact", cell);
      r.max_new_tokens = 4;
      r.backend.engine = *parse_engine("model:sm90");
      r.backend.attention = *parse_flash(GetParam());
      if (!unsupported_reason(r.backend, mode_of(r.precision)).empty()) continue;
      const auto result = runtime.generate(r);
      ASSERT_TRUE(result) << result.error().text();
      ASSERT_EQ(result->trace.status, CellStatus::ok) << result->trace.reason;
      EXPECT_EQ(result->trace.observed.attention, GetParam());
      const std::string bits = bits_of_trace(result->trace);
      if (want.empty()) want = bits;
      EXPECT_EQ(want, bits) << cell;
    }
  }
  EXPECT_GT(want.size(), 300u);
}

}  // namespace
}  // namespace isobit::fused_test
