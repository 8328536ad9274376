// What a cell says that it took.
#include "runtime/run/cost.h"

#include <gtest/gtest.h>

#include "tests/fakes/model.h"

namespace isobit {
namespace {

Observed observed_of(Precision precision, int ranks) {
  Runtime runtime(fakes::toy_model(fakes::worked_example()));
  GenerateRequest request;
  request.precision = precision;
  request.ranks = ranks;
  request.prompts = {{{1, 2, 3, 4, 5}, {}, ""}};
  request.max_new_tokens = 3;
  auto result = runtime.generate(request);
  EXPECT_TRUE(result) << result.error().text();
  return result ? result->trace.observed : Observed{};
}

/// By hand, of NUMERICS.md's worked example (100 x 64 embedding, 2 layers, 4 heads of 16 on 2 KV
/// heads, MLP of 100), panels of 32 outputs: bytes of matrices with elements of `element` bytes.
std::int64_t matrices(std::int64_t element) {
  const std::int64_t layer = 64 * 64 * 2     // q, o
                             + 32 * 64 * 2   // k, v
                             + 128 * 64 * 2  // gate, up: 100 outputs in four panels
                             + 64 * 100;     // down
  return (2 * layer + 128 * 64) * element;   // and the head
}
/// The embedding and 5 norms, as Reals.
std::int64_t reals(std::int64_t real) {
  return (100 * 64 + 5 * 64) * real;
}

TEST(Cost, WeightsAreCountedAsTheyAreKept) {
  EXPECT_EQ(observed_of(Precision::fp32, 1).weight_bytes, matrices(4) + reals(4));
  EXPECT_EQ(observed_of(Precision::fp64, 1).weight_bytes, matrices(8) + reals(8));
  EXPECT_EQ(observed_of(Precision::bf16, 1).weight_bytes, matrices(2) + reals(4));
  // 8-bit values lie as bf16, with a scale an output; the head has 16 bits and none.
  const std::int64_t scales = 2 * (64 + 32 + 32 + 64 + 100 + 100 + 64) * 4;
  EXPECT_EQ(observed_of(Precision::fp8_e4m3, 1).weight_bytes, matrices(2) + reals(4) + scales);
}

TEST(Cost, RanksCutTheMatricesAndShareTheNorms) {
  // Of two ranks each has the norms, and a KV head of 16 outputs, which half fills its panel.
  const std::int64_t half_panels = 2 * 2 * 2 * (32 - 16) * 64;  // layers, k and v, ranks
  EXPECT_EQ(observed_of(Precision::fp32, 2).weight_bytes,
            matrices(4) + reals(4) + (5 * 64 + half_panels) * 4);
}

TEST(Cost, AnExactCacheIsCountedToo) {
  // Seven positions, K and V, 2 layers, 2 KV heads of 16; the last token is not fed.
  EXPECT_EQ(observed_of(Precision::fp32, 1).kv_bytes, 7 * 2 * 2 * 2 * 16 * 4);
  EXPECT_EQ(observed_of(Precision::bf16, 1).kv_bytes, 7 * 2 * 2 * 2 * 16 * 2);
}

TEST(Cost, MemoryOfTheProcessIsMoreThanItsWeights) {
  const Observed ran = observed_of(Precision::fp32, 1);
  if (ran.peak_bytes == 0) GTEST_SKIP() << "this system does not let a process set its peak back";
  EXPECT_GT(ran.peak_bytes, ran.weight_bytes);
  EXPECT_LT(ran.peak_bytes, std::int64_t{1} << 36);
}

/// On a device the memory is the device's, and replicas that share it have weights each.
TEST(CostGpu, DeviceMemoryHoldsTheWeights) {
  GenerateRequest request;
  request.backend.device = "cuda";
  request.prompts = {{{1, 2, 3, 4, 5}, {}, ""}, {{6, 7}, {}, ""}};
  request.max_new_tokens = 3;
  if (const std::string why = unsupported_reason(request.backend, mode_of(request.precision));
      !why.empty()) {
    GTEST_SKIP() << why;
  }
  Runtime runtime(fakes::toy_model(fakes::worked_example()));
  const auto one = runtime.generate(request);
  ASSERT_TRUE(one) << one.error().text();
  request.replicas = 2;
  const auto two = runtime.generate(request);
  ASSERT_TRUE(two) << two.error().text();
  EXPECT_EQ(cell_root(one->trace), cell_root(two->trace));
  const Observed &single = one->trace.observed, &dealt = two->trace.observed;
  EXPECT_GE(single.weight_bytes, 4 * (2 * (64 * 64 * 2 + 32 * 64 * 2 + 100 * 64 * 3) + 100 * 64))
      << "every element once";
  EXPECT_EQ(dealt.weight_bytes, 2 * single.weight_bytes);
  EXPECT_GT(single.peak_bytes, single.weight_bytes);
  EXPECT_LT(single.peak_bytes, std::int64_t{1} << 30) << "of this process, not of the device";
  EXPECT_GT(dealt.peak_bytes, dealt.weight_bytes);
  EXPECT_EQ(single.energy_source, single.energy_mj > 0 ? "nvml" : "");
}

TEST(Cost, EnergyNamesItsSourceOrIsNotMeasured) {
  const Observed ran = observed_of(Precision::fp32, 1);
  EXPECT_EQ(ran.energy_source, ran.energy_mj > 0 ? "rapl" : "");
}

}  // namespace
}  // namespace isobit
