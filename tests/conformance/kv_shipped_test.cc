// Caches as shipped: the same bits over instruction sets, threads, pages and cells that schedule
// alike; other bits where the originals depend on the schedule, and only there.
#include <algorithm>

#include "tests/conformance/kv_cases.h"

namespace isobit::kv_test {
namespace {

constexpr const char* kShipped[] = {"quanto:2+residual:16",
                                    "quanto:4+residual:16",
                                    "hqq:2+axis:1+group:8+residual:16",
                                    "hqq:4+residual:16",
                                    "kvarn:k4v2+form:shipped+group:64",
                                    "kvarn:k2v2+form:shipped+group:64"};

struct Outcome {
  std::string bits;
  Observed observed;
};

class KvShipped : public ::testing::TestWithParam<const char*> {
 protected:
  /// Prompts of equal lengths are one tensor; the others never are.
  Outcome run(const Cell& cell, Precision precision, std::int64_t equal = 0) {
    GenerateRequest r = request(precision, GetParam(), cell);
    r.prompts = {prompt(100), prompt(31), prompt(130)};
    r.max_new_tokens = 20;
    if (equal > 0) {
      r.prompts.clear();
      for (std::int64_t i = 0; i < 3; ++i) {
        r.prompts.push_back(prompt(equal + i));
        r.prompts.back().tokens.resize(std::size_t(equal));
      }
    }
    const auto result = runtime_.generate(r);
    EXPECT_TRUE(result) << (result ? "" : result.error().text());
    if (!result) return {};
    EXPECT_EQ(result->trace.status, CellStatus::ok) << result->trace.reason;
    EXPECT_EQ(result->trace.observed.kv, GetParam());
    return {bits_of_trace(result->trace), result->trace.observed};
  }
  [[nodiscard]] bool is(const char* name) const {
    return std::string(GetParam()).starts_with(name);
  }
  Runtime runtime_{model()};
};
std::string name_of_param(const ::testing::TestParamInfo<const char*>& info) {
  std::string name = info.param;
  for (char& c : name) c = c == ':' || c == '+' ? '_' : c;
  return name;
}
INSTANTIATE_TEST_SUITE_P(Each, KvShipped, ::testing::ValuesIn(kShipped), name_of_param);

TEST_P(KvShipped, OneDigestOverPlaces) {
  for (const Precision precision : {Precision::bf16, Precision::fp64}) {
    for (const char* cache : {"on", "chunked:64"}) {
      if (precision == Precision::fp64 && std::string(cache) != "on") continue;
      Cell cell;
      cell.cache = cache, cell.isa = "scalar";
      const Outcome want = run(cell, precision);
      EXPECT_FALSE(want.observed.kv_identity);
      EXPECT_GT(want.observed.kv_coded, 0);
      // A prompt of kvarn is fp16 until the next step.
      EXPECT_LT(want.observed.kv_bytes, want.observed.kv_exact_bytes + (is("kvarn") ? 1 : 0));
      cell.threads = 3;
      for (const char* isa : {"avx2", "avx512", "neon"}) {
        cell.isa = isa;
        const GenerateRequest r = request(precision, GetParam(), cell);
        if (!unsupported_reason(r.backend, mode_of(precision)).empty()) continue;
        EXPECT_EQ(want.bits, run(cell, precision).bits) << cell;
      }
      Cell gpu = cell;
      gpu.isa = "auto", gpu.device = "cuda";
      if (unsupported_reason(request(precision, GetParam(), gpu).backend, mode_of(precision))
              .empty()) {
        EXPECT_EQ(want.bits, run(gpu, precision).bits) << gpu;
      }
      if (cell.cache != "on") continue;
      cell.isa = "auto", cell.cache = "paged:16";
      EXPECT_EQ(want.bits, run(cell, precision).bits) << cell;
    }
  }
}

TEST_P(KvShipped, WhatItDependsOn) {
  Cell on, chunked, batch;
  chunked.cache = "chunked:32", batch.batch = 3;
  const Outcome want = run(on, Precision::fp32, 160);
  EXPECT_NE(want.bits, run(chunked, Precision::fp32, 160).bits);
  const Outcome beside = run(batch, Precision::fp32, 160);
  EXPECT_EQ(beside.bits != want.bits, is("hqq")) << "one tensor, one optimiser";
  EXPECT_EQ(run(on, Precision::fp32).bits, run(batch, Precision::fp32).bits)
      << "different lengths are different tensors";
  batch.staggered = true;
  EXPECT_EQ(run(on, Precision::fp32).bits, run(batch, Precision::fp32).bits);
}

/// Without a cache every step is a first one, which the packages leave exact.
TEST_P(KvShipped, OffIsExactAndSaysSo) {
  Cell off;
  off.cache = "off", off.batch = 3;
  GenerateRequest r = request(Precision::bf16, GetParam(), off);
  r.max_new_tokens = 3;
  const auto shipped = runtime_.generate(r);
  ASSERT_TRUE(shipped);
  EXPECT_TRUE(shipped->trace.observed.kv_identity);
  r.kv = {};
  const auto exact = runtime_.generate(r);
  ASSERT_TRUE(exact);
  EXPECT_EQ(bits_of_trace(shipped->trace), bits_of_trace(exact->trace));
}

TEST(KvShippedFails, WhereTheOriginalDoes) {
  Runtime runtime(model());
  const auto result = runtime.generate(request(Precision::fp32, "quanto:4+axis:-1", {}));
  ASSERT_TRUE(result);
  EXPECT_EQ(result->trace.status, CellStatus::failed);
  EXPECT_EQ(result->trace.reason,
            "a group of 64 does not divide the 200 rows of the tensor, where optimum-quanto raises "
            "an error");
  Cell two;
  two.ranks = 2;
  const auto ranks = runtime.generate(request(Precision::fp32, "hqq:4", two));
  ASSERT_FALSE(ranks);
  EXPECT_NE(ranks.error().text().find("gpus: 1 only"), std::string::npos);
}

}  // namespace
}  // namespace isobit::kv_test
