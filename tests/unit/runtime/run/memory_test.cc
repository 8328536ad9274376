// Estimates of memory: of the right size, growing with what grows, stopped where numbers end.
#include "runtime/run/memory.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>

#include "runtime/base/memory.h"
#include "runtime/model/arch/architecture.h"
#include "runtime/run/generate.h"
#include "tests/fakes/counting.h"
#include "tests/fakes/model.h"

namespace isobit {
namespace {

GenerateRequest request_of(std::int64_t batch, std::int64_t tokens, const char* cache) {
  GenerateRequest request;
  request.batch.size = batch;
  request.cache = *parse_cache_mode(cache);
  request.max_new_tokens = 8;
  request.prompts.resize(2);
  for (PromptTokens& prompt : request.prompts) prompt.tokens.assign(std::size_t(tokens), 1);
  return request;
}

TEST(Memory, EstimatesWhatGrowsWithTheBatch) {
  const LoadedModel model = fakes::toy_model(fakes::worked_example());
  const MemoryEstimate one = estimate_memory(model, request_of(1, 24, "on"));
  const MemoryEstimate many = estimate_memory(model, request_of(1000, 24, "on"));
  EXPECT_EQ(one.weights, many.weights);
  // Keys and values of 1,000 sequences of 32 positions: 2 layers, 2 heads of 16, fp32, both.
  const std::int64_t values = 1000LL * 32 * 2 * 2 * 16 * 4 * 2;
  EXPECT_GE(many.cache, values);
  const std::int64_t page = parse_cache_mode("on")->page_size;  // a sequence has whole pages
  EXPECT_LE(many.cache, values / 32 * ((32 + page - 1) / page * page) * 9 / 8);
  EXPECT_GE(many.activations, 1000LL * 24 * (3 * 64 + 2 * 64 + 2 * 32 + 4 * 100) * 4);
  EXPECT_LT(one.activations * 900, many.activations);
}

TEST(Memory, FollowsTheCacheMode) {
  const LoadedModel model = fakes::toy_model(fakes::worked_example());
  const auto activations = [&](const char* cache) {
    return estimate_memory(model, request_of(64, 24, cache)).activations;
  };
  EXPECT_LT(activations("chunked:5"), activations("on"));
  EXPECT_LT(activations("on"), activations("off"));  // every step is the whole text again
  EXPECT_LT(estimate_memory(model, request_of(64, 24, "on")).cache,
            estimate_memory(model, request_of(64, 24, "recomputed")).cache);
  GenerateRequest wide = request_of(64, 24, "on");
  const std::int64_t narrow = estimate_memory(model, wide).cache;
  wide.precision = Precision::fp64;
  EXPECT_EQ(estimate_memory(model, wide).cache, 2 * narrow);
  wide.precision = Precision::fp8_e5m2;
  EXPECT_EQ(estimate_memory(model, wide).cache * 2, narrow);
  GenerateRequest again = request_of(64, 24, "recomputed");  // residual rows as keys and values
  const std::int64_t residuals = estimate_memory(model, again).cache;
  again.precision = Precision::bf16;
  EXPECT_EQ(estimate_memory(model, again).cache * 2, residuals);
  GenerateRequest tokens = request_of(64, 24, "on");
  tokens.kv = *parse_kv_policy("residual:embedding");
  EXPECT_LT(estimate_memory(model, tokens).cache, narrow * 2 / 3)
      << "one layer of two, a spare page";
}

TEST(Memory, IsWhatRebuildingTakes) {
  const LoadedModel model = fakes::toy_model(fakes::odd_config("llama"));
  for (const char* kv :
       {"exact", "residual:every_layer", "residual:(every:2)+budget:40", "residual:embedding"}) {
    for (const char* cache : {"on", "paged:16", "recomputed", "chunked:50+speculative:4"}) {
      Runtime runtime(fakes::toy_model(fakes::odd_config("llama")));
      GenerateRequest request = request_of(2, 200, cache);
      request.kv = *parse_kv_policy(kv);
      const MemoryEstimate estimate = estimate_memory(model, request);
      std::int64_t most = 0;
      request.wrap_backend = [&](std::unique_ptr<Backend> inner) -> std::unique_ptr<Backend> {
        return std::make_unique<fakes::CountingBackend>(std::move(inner), most);
      };
      ASSERT_TRUE(runtime.generate(request).has_value());
      EXPECT_LE(most, estimate.activations + estimate.cache) << kv << " " << cache;
      EXPECT_GE(3 * most, estimate.activations + estimate.cache) << kv << " " << cache;
    }
  }
}

/// What is taken besides weights, by every family: no more than the estimate, and at least half.
TEST(Memory, IsWhatEveryFamilyTakes) {
  for (const Architecture* family : architectures()) {
    for (const Precision precision : {Precision::fp32, Precision::bf16}) {
      Runtime runtime(fakes::toy_model(fakes::odd_config(family->name)));
      const LoadedModel model = fakes::toy_model(fakes::odd_config(family->name));
      GenerateRequest request = request_of(2, 200, "on");
      request.precision = precision;
      const MemoryEstimate estimate = estimate_memory(model, request);
      std::int64_t most = 0;
      request.wrap_backend = [&](std::unique_ptr<Backend> inner) -> std::unique_ptr<Backend> {
        return std::make_unique<fakes::CountingBackend>(std::move(inner), most);
      };
      ASSERT_TRUE(runtime.generate(request).has_value());
      EXPECT_LE(most, estimate.activations + estimate.cache) << family->name;
      EXPECT_GE(2 * most, estimate.activations + estimate.cache) << family->name;
    }
  }
}

TEST(Memory, CountsStopWhereNumbersEnd) {
  EXPECT_EQ(saturating_product(1LL << 40, 1LL << 40), INT64_MAX);
  EXPECT_EQ(saturating_product(1LL << 31, 1LL << 31), 1LL << 62);
  EXPECT_EQ(saturating_sum(INT64_MAX, 1), INT64_MAX);
  EXPECT_EQ(saturating_sum(2, 3), 5);
}

TEST(Memory, AvailableIsWithinTheProcessesOwnLimit) {
  EXPECT_GT(available_memory(), 0);
  std::int64_t pages = 0;
  ASSERT_TRUE(std::ifstream("/proc/self/statm") >> pages);
  constexpr std::int64_t kMore = std::int64_t{1} << 30;
  const rlim_t most = rlim_t(pages * ::sysconf(_SC_PAGESIZE) + kMore);
  const pid_t child = ::fork();
  if (child == 0) {
    const rlimit limit{most, most};
    const bool set = ::setrlimit(RLIMIT_AS, &limit) == 0;
    ::_exit(set && available_memory() <= kMore ? 0 : 1);
  }
  int status = 1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

}  // namespace
}  // namespace isobit
