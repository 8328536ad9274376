// A small model end to end: every digest of every operation on the GPU equals the CPU's, over
// precisions, batches, cache modes and ranks. The model is made here, so nothing has to be shipped.
#include "runtime/run/generate.h"
#include "tests/conformance/cuda_pair.h"
#include "tests/conformance/trace_bits.h"
#include "tests/fakes/model.h"

namespace isobit::cuda_test {
namespace {

/// All biases of the Llama table.
ModelConfig small_config(std::int64_t window = 0) {
  ModelConfig c = fakes::odd_config("llama");
  c.sliding_window = window;
  return c;
}

std::vector<PromptTokens> prompts() {
  std::vector<PromptTokens> out;
  Random random(5);
  for (const std::int64_t length : {5, 17, 250, 40, 1, 9}) {
    PromptTokens prompt;
    for (std::int64_t i = 0; i < length; ++i) {
      prompt.tokens.push_back(std::int32_t(random.below(small_config().vocab_size)));
    }
    out.push_back(prompt);
  }
  return out;
}

class CudaModelGpu : public CudaOps {
 protected:
  static GenerateRequest request(int batch) {
    GenerateRequest r;
    r.precision = precision();
    r.prompts = prompts();
    r.max_new_tokens = 14;
    r.batch.size = batch;
    r.level = TraceLevel::ops;
    return r;
  }
  std::string run(GenerateRequest r, const std::string& device) {
    r.backend.device = device;
    auto result = runtime_.generate(r);
    if (!result) return result.error().text();
    EXPECT_EQ(result->trace.observed.device, device);
    EXPECT_EQ(result->trace.status, CellStatus::ok) << result->trace.reason;
    EXPECT_EQ(result->trace.prompts.front().tokens.size(), 14u);
    return bits_of_trace(result->trace);
  }
  Runtime runtime_{fakes::toy_model(small_config())};
};
INSTANTIATE_TEST_SUITE_P(Precision, CudaModelGpu, ::testing::Range(0, kPrecisions), precision_name);

TEST_P(CudaModelGpu, EveryDigestEqualsTheCpus) {
  const std::string want = run(request(1), "cpu");
  ASSERT_GT(want.size(), 10000u);
  for (const int batch : {1, 3, 6}) EXPECT_EQ(want, run(request(batch), "cuda")) << batch;
}

TEST_P(CudaModelGpu, CacheModes) {
  for (const char* name :
       {"off", "chunked:1", "chunked:17", "paged:1", "paged:17", "prefix", "recomputed"}) {
    GenerateRequest r = request(3);
    r.cache = *parse_cache_mode(name);
    r.batch.staggered = true;
    r.max_new_tokens = 14;
    EXPECT_EQ(run(r, "cpu"), run(r, "cuda")) << name;
  }
}

TEST_P(CudaModelGpu, RanksOnOneGpu) {
  for (const int ranks : {2, 4, 8}) {
    GenerateRequest r = request(3);
    r.ranks = ranks;
    r.arrival_seed = 11;
    EXPECT_EQ(run(request(3), "cpu"), run(r, "cuda")) << ranks;
  }
}

TEST_P(CudaModelGpu, SampledTokens) {
  GenerateRequest r = request(3);
  r.sampler.temperature = 0.8;
  r.sampler.top_p = 0.95;
  r.sampler.seed = 3;
  EXPECT_EQ(run(r, "cpu"), run(r, "cuda"));
}

/// Steps as graphs: nothing but logits is recorded, so the same steps run without a recorder.
class CudaGraphsGpu : public CudaModelGpu {
 protected:
  static GenerateRequest request(int batch, const char* cache = "on") {
    GenerateRequest r = CudaModelGpu::request(batch);
    r.level = TraceLevel::logits;
    r.cache = *parse_cache_mode(cache);
    return r;
  }
  /// Tokens, digests and best entries, and whether a graph was used.
  static std::pair<std::string, bool> run(Runtime& runtime, GenerateRequest r,
                                          const std::string& device) {
    r.backend.device = device;
    const auto result = runtime.generate(r);
    if (!result) return {result.error().text(), false};
    EXPECT_EQ(result->trace.status, CellStatus::ok) << result->trace.reason;
    CellTrace trace = result->trace;
    for (PromptTrace& prompt : trace.prompts) prompt.observations.clear();
    return {bits_of_trace(trace), trace.observed.kernels.find(" graph") != std::string::npos};
  }
  /// The CPU, the GPU step by step, and the GPU with graphs: one text.
  static void expect_same(Runtime& runtime, const GenerateRequest& r, bool graphs) {
    const auto [want, none] = run(runtime, r, "cpu");
    ASSERT_GT(want.size(), 1000u);
    EXPECT_FALSE(none);
    GenerateRequest recorded = r;
    recorded.level = TraceLevel::layers;
    const auto [eager, eager_graphs] = run(runtime, recorded, "cuda");
    EXPECT_EQ(want, eager);
    EXPECT_FALSE(eager_graphs) << "a recorded step must run by itself";
    const auto [got, got_graphs] = run(runtime, r, "cuda");
    EXPECT_EQ(want, got);
    EXPECT_EQ(got_graphs, graphs);
  }
};
INSTANTIATE_TEST_SUITE_P(Precision, CudaGraphsGpu, ::testing::Range(0, kPrecisions),
                         precision_name);

TEST_P(CudaGraphsGpu, BatchesThatJoinAndLeave) {
  for (const int batch : {1, 3, 8}) {
    for (const bool staggered : {false, true}) {
      SCOPED_TRACE(::testing::Message() << "batch " << batch << " staggered " << staggered);
      GenerateRequest r = request(batch);
      r.batch.staggered = staggered;
      expect_same(runtime_, r, true);
    }
  }
}

TEST_P(CudaGraphsGpu, CacheModes) {
  const std::pair<const char*, bool> modes[] = {
      {"off", false},   {"recomputed", false}, {"paged:1", true},  {"paged:16", true},
      {"prefix", true}, {"chunked:17", true},  {"chunked:1", true}};
  for (const auto& [name, graphs] : modes) {
    SCOPED_TRACE(name);
    expect_same(runtime_, request(3, name), graphs);
  }
}

TEST_P(CudaGraphsGpu, ContextsThatCrossSplits) {
  for (const char* cache : {"on", "paged:16"}) {
    GenerateRequest r = request(3, cache);
    Random random(9);
    r.prompts.clear();
    for (const std::int64_t length : {250, 506, 764, 1017}) {  // 1, 2, 3 and 4 splits, then more
      r.prompts.emplace_back();
      for (std::int64_t i = 0; i < length; ++i) {
        r.prompts.back().tokens.push_back(std::int32_t(random.below(small_config().vocab_size)));
      }
    }
    expect_same(runtime_, r, true);
  }
}

TEST_P(CudaGraphsGpu, SlidingWindow) {
  Runtime runtime(fakes::toy_model(small_config(37)));
  expect_same(runtime, request(3, "paged:16"), true);
}

TEST_P(CudaGraphsGpu, CellsOfOneProcess) {
  const auto [want, none] = run(runtime_, request(3), "cpu");
  EXPECT_FALSE(none);
  for (int cell = 0; cell < 3; ++cell) {  // other memory each time
    const auto [got, graphs] = run(runtime_, request(3), "cuda");
    EXPECT_EQ(want, got);
    EXPECT_TRUE(graphs);
  }
}

TEST_P(CudaGraphsGpu, SampledTokens) {
  GenerateRequest r = request(3);
  r.sampler.temperature = 0.8;
  r.sampler.top_p = 0.95;
  r.sampler.seed = 3;
  expect_same(runtime_, r, true);
}

TEST_P(CudaGraphsGpu, VendorLibraryGivesTheSameWithGraphs) {
  GenerateRequest r = request(3);
  r.backend.engine = *parse_engine("cublas");
  r.backend.device = "cuda";
  if (!unsupported_reason(r.backend, mode_of(r.precision)).empty()) GTEST_SKIP() << "no cuBLAS";
  GenerateRequest recorded = r;
  recorded.level = TraceLevel::layers;
  const auto [eager, eager_graphs] = run(runtime_, recorded, "cuda");
  const auto [got, graphs] = run(runtime_, r, "cuda");
  EXPECT_EQ(eager, got);
  EXPECT_FALSE(eager_graphs);
  EXPECT_TRUE(graphs);
}

}  // namespace
}  // namespace isobit::cuda_test
