// Fused attention of libraries on the GPU against the scalar table, every kernel and case of
// fused_scene.h; and models, whose steps are never replayed under it.
#include "tests/conformance/cuda_pair.h"
#include "tests/conformance/fused_scene.h"
#include "tests/conformance/kv_cases.h"

namespace isobit::fused_test {
namespace {

void compare(const Case& c, std::uint64_t seed) {
  const Scene scene(c, seed);
  const auto gpu = flash_test::backend_of(c, "auto", 1, "cuda");
  ASSERT_NE(gpu, nullptr);
  EXPECT_EQ(gpu->describe().device, "cuda");
  EXPECT_EQ(gpu->describe().engine, "model:sm90");
  EXPECT_EQ(gpu->describe().attention, "reference");  // nothing has run
  const auto cpu = flash_test::backend_of(c, "scalar");
  ASSERT_NE(cpu, nullptr);
  const std::vector<double> want = scene.run(*cpu);
  EXPECT_TRUE(!has_substance(c) || cpu::testing::has_substance(want)) << c;
  EXPECT_TRUE(cpu::testing::same(want, scene.run(*gpu))) << c;
  EXPECT_EQ(gpu->describe().attention, c.schedule) << c;
  EXPECT_EQ(cpu->describe().attention, c.schedule) << c;
  const std::string ran = gpu->describe().kernels;
  EXPECT_NE(ran.find("attention_fused"), std::string::npos) << ran;
  EXPECT_EQ(ran.find("attention_split"), std::string::npos) << ran;
}

class CudaFusedGpu : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override { cuda_test::need_gpu(); }
};
INSTANTIATE_TEST_SUITE_P(Kernel, CudaFusedGpu, ::testing::ValuesIn(kFusedKernels), kernel_name);

TEST_P(CudaFusedGpu, EqualsTheScalarTable) {
  std::uint64_t seed = 100;
  for (const Case& c : cases_of(GetParam())) compare(c, seed += 10);
}

/// The scalar table is not its own judge: some cases against the literal text itself.
TEST_P(CudaFusedGpu, EqualsTheLiteralText) {
  const std::vector<Case> cases = cases_of(GetParam());
  for (std::size_t i = 0; i < cases.size(); i += 5) {
    const Scene scene(cases[i], 7000 + i);
    const auto gpu = flash_test::backend_of(cases[i], "auto", 1, "cuda");
    ASSERT_NE(gpu, nullptr);
    EXPECT_TRUE(cpu::testing::same(literal(cases[i], scene), scene.run(*gpu))) << cases[i];
  }
}

/// One backend, one call after the other: plans and places are sent anew.
TEST_P(CudaFusedGpu, CallsOfOneBackendDoNotShareAPlan) {
  Case c;
  c.schedule = GetParam();
  c.precision = Precision::bf16;
  c.ascending = true;
  c.heads = 4;
  const auto gpu = flash_test::backend_of(c, "auto", 1, "cuda");
  ASSERT_NE(gpu, nullptr);
  for (const std::int64_t length : {600, 20, 300, 301, 600}) {
    c.lengths = {length, 5};
    const Scene scene(c, std::uint64_t(length));
    const auto cpu = flash_test::backend_of(c, "scalar");
    EXPECT_TRUE(cpu::testing::same(scene.run(*cpu), scene.run(*gpu))) << c;
  }
}

TEST_P(CudaFusedGpu, ModelsOnBothDevices) {
  Runtime runtime{kv_test::model()};
  for (const Precision precision : {Precision::bf16, Precision::fp16, Precision::fp8_e4m3}) {
    std::vector<std::string> bits;
    for (const char* device : {"cpu", "cuda"}) {
      kv_test::Cell cell;
      cell.device = device, cell.batch = 3;
      GenerateRequest r = kv_test::request(precision, "exact", cell);
      r.backend.engine = *parse_engine("model:sm90");
      r.backend.attention = *parse_flash(GetParam());
      const auto result = runtime.generate(r);
      ASSERT_TRUE(result) << result.error().text();
      ASSERT_EQ(result->trace.status, CellStatus::ok) << result->trace.reason;
      EXPECT_EQ(result->trace.observed.attention, GetParam());
      if (device == std::string("cuda")) {
        const std::string ran = result->trace.observed.kernels;
        EXPECT_NE(ran.find("attention_fused"), std::string::npos) << ran;
        EXPECT_EQ(ran.find("graph"), std::string::npos) << ran;
      }
      bits.push_back(bits_of_trace(result->trace));
    }
    EXPECT_EQ(bits[0], bits[1]) << mode_of(precision).name;
  }
}

class CudaFusedHeadsGpu : public ::testing::Test {
 protected:
  void SetUp() override { cuda_test::need_gpu(); }
};
TEST_F(CudaFusedHeadsGpu, WideOnesAreFlashAttention2s) {
  std::uint64_t seed = 7;
  for (const Case& c : wide_heads()) compare(c, ++seed);
}

/// Small, for compute-sanitizer: several sequences, splits, a prompt.
class CudaFusedSanitizeGpu : public CudaFusedGpu {};
INSTANTIATE_TEST_SUITE_P(Kernel, CudaFusedSanitizeGpu, ::testing::ValuesIn(kFusedKernels),
                         kernel_name);
TEST_P(CudaFusedSanitizeGpu, OneShapeOfEachPath) {
  Case c;
  c.schedule = GetParam();
  c.precision = Precision::bf16;
  c.ascending = true;
  c.d = 40;
  c.lengths = {1, 33, 260};
  for (const std::int64_t queries : {1, 3}) {
    c.queries = queries;
    compare(c, 3);
  }
}

}  // namespace
}  // namespace isobit::fused_test
