// Every family of the architecture table on the GPU: the CPU's digests in nine precisions, over
// batches, cache modes and ranks; the joint kernels against the plain operations; captured steps.
#include "tests/conformance/architecture_cases.h"
#include "tests/conformance/cuda_pair.h"

namespace isobit::architecture_test {
namespace {

class FamiliesGpu : public Families {
 protected:
  void SetUp() override { cuda_test::need_gpu(); }
  GenerateRequest on_gpu(int batch, const std::string& cache = "on") {
    GenerateRequest r = request(batch, cache);
    r.backend.device = "cuda";
    return r;
  }
};
INSTANTIATE_TEST_SUITE_P(Table, FamiliesGpu, ::testing::ValuesIn(families(Share::own)), case_name);
INSTANTIATE_TEST_SUITE_P(Wide, FamiliesGpu, ::testing::ValuesIn(families(Share::two)), case_name);
INSTANTIATE_TEST_SUITE_P(WideSlow, FamiliesGpu, ::testing::ValuesIn(families(Share::rest)),
                         case_name);

TEST_P(FamiliesGpu, EveryDigestEqualsTheCpus) {
  GenerateRequest cpu = request(1);
  cpu.level = TraceLevel::ops;
  const std::string want = run(cpu);
  ASSERT_GT(want.size(), 100000u);
  for (const int batch : {1, 3}) {
    GenerateRequest r = on_gpu(batch);
    r.level = TraceLevel::ops;
    EXPECT_EQ(want, run(r)) << batch;
    compose(r);
    EXPECT_EQ(want, run(r)) << batch << ", operation by operation";
  }
  for (const int ranks : {2, 4, 8}) {
    GenerateRequest r = on_gpu(3);
    r.level = TraceLevel::ops;
    r.ranks = ranks;
    r.arrival_seed = 11;  // messages go through the host, so ranks may share a GPU
    EXPECT_EQ(want, run(r)) << ranks << " ranks";
  }
}

/// Three heads on eight ranks: most ranks have none, and biases and norms of nothing.
TEST_P(FamiliesGpu, RanksWithoutHeads) {
  ModelConfig few = config();
  few.heads = 3;
  few.kv_heads = 1;
  Runtime runtime(fakes::toy_model(few));
  GenerateRequest cpu = request(3), gpu = on_gpu(3);
  gpu.ranks = 8;
  gpu.arrival_seed = 11;
  EXPECT_EQ(run(runtime, cpu), run(runtime, gpu));
}

TEST_P(FamiliesGpu, CacheModes) {
  const std::string want = run(request(1));
  ASSERT_GT(want.size(), 1000u);
  for (const char* cache :
       {"off", "chunked:1", "chunked:17", "paged:1", "paged:17", "prefix", "recomputed"}) {
    EXPECT_EQ(want, run(on_gpu(3, cache))) << cache;
  }
}

/// Decode steps as graphs, windows that differ by layer included.
TEST_P(FamiliesGpu, CapturedSteps) {
  for (const char* cache : {"on", "paged:17"}) {
    for (const int batch : {1, 3}) {
      GenerateRequest cpu = request(batch, cache);
      cpu.max_new_tokens = 24;
      GenerateRequest gpu = on_gpu(batch, cache);
      gpu.max_new_tokens = 24;
      const auto result = runtime_.generate(gpu);
      ASSERT_TRUE(result.has_value()) << result.error().text();
      const bool repeats = config().experts == 0 && config().architecture != "gpt2";
      EXPECT_EQ(result->trace.observed.kernels.find(" graph") != std::string::npos, repeats);
      EXPECT_EQ(run(cpu), bits_of_trace(result->trace)) << cache << " " << batch;
    }
  }
}

}  // namespace
}  // namespace isobit::architecture_test
