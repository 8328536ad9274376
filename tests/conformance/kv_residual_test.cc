// KV-Direct: old positions hold no keys and values, which are rebuilt from checkpoints in every
// step, and every bit is that of a cache that keeps all.
#include <algorithm>

#include "harness/selftest/wrap.h"
#include "tests/conformance/cuda_pair.h"
#include "tests/conformance/kv_cases.h"

namespace isobit::kv_test {
namespace {

constexpr std::int64_t kLayers = 5;  // strides of 2 and 3 leave layers to replay at both ends

LoadedModel deep_model(std::int64_t window = 0) {
  ModelConfig c = model(window).config;
  c.layers = kLayers;
  return fakes::toy_model(c);
}

const char* const kForms[] = {"every_layer", "(every:2)"};  // the others are too much for
const char* const kOthers[] = {"(every:3)", "embedding"};   // instrumented builds

std::string kv_of(const std::string& form, int budget) {
  const auto spec = parse_kv_policy("residual:" + form + "+budget:" + std::to_string(budget));
  return spec->text;
}

/// Texts that end behind the split at 256; budgets of 0, 16 and 200 act in one or all of them.
GenerateRequest shorter(Precision precision, const std::string& kv, const Cell& cell) {
  GenerateRequest r = request(precision, kv, cell);
  r.max_new_tokens = 12;
  return r;
}

/// The run's bits; what was kept and rebuilt must be what the policy says.
std::string run(Runtime& runtime, const GenerateRequest& r) {
  const auto result = runtime.generate(r);
  if (!result) return result.error().text();
  const Observed& o = result->trace.observed;
  EXPECT_EQ(result->trace.status, CellStatus::ok) << result->trace.reason;
  EXPECT_EQ(o.kv, r.kv.text);
  EXPECT_EQ(o.device, r.backend.device);
  if (r.kv.exact()) return bits_of_trace(result->trace);
  const std::int64_t longest = 250 + r.max_new_tokens;
  const bool acts = r.cache.keeps && r.kv.residual->budget < longest;
  EXPECT_EQ(o.kv_identity, !acts);
  EXPECT_EQ(o.kv_rebuilt > 0, acts);
  EXPECT_EQ(o.kv_evicted > 0, acts);
  EXPECT_EQ(o.recomputed > 0, r.cache.recomputes);
  EXPECT_EQ(o.drafted > 0, r.cache.drafts > 0);
  return bits_of_trace(result->trace);
}

class KvResidual : public ::testing::TestWithParam<const char*> {
 protected:
  Runtime runtime_{deep_model()};
};
std::string name_of_form(const ::testing::TestParamInfo<const char*>& info) {
  std::string name = info.param;
  std::erase_if(name, [](char c) { return c == '(' || c == ')' || c == ':'; });
  return name;
}
INSTANTIATE_TEST_SUITE_P(Form, KvResidual, ::testing::ValuesIn(kForms), name_of_form);
INSTANTIATE_TEST_SUITE_P(Wide, KvResidual, ::testing::ValuesIn(kOthers), name_of_form);

TEST_P(KvResidual, OneDigestWithTheExactCache) {
  const std::string want = run(runtime_, shorter(Precision::bf16, "exact", {}));
  ASSERT_GT(want.size(), 5000u) << want;
  int compared = 0;
  for (const int budget : {0, 16, 200}) {
    const std::string kv = kv_of(GetParam(), budget);
    for (const char* cache : {"on", "off", "chunked:17", "paged:1", "paged:16", "recomputed",
                              "speculative:3", "chunked:17+paged:7+speculative:5"}) {
      for (const std::int64_t batch : {1, 3}) {
        Cell cell;
        cell.cache = cache, cell.batch = batch;
        EXPECT_EQ(want, run(runtime_, shorter(Precision::bf16, kv, cell))) << kv << " " << cell;
        ++compared;
      }
    }
    for (const int ranks : {2, 4, 8}) {
      Cell cell;
      cell.ranks = ranks, cell.batch = 3, cell.staggered = true;
      cell.cache = ranks == 2 ? "chunked:17+paged:16" : "on";
      EXPECT_EQ(want, run(runtime_, shorter(Precision::bf16, kv, cell))) << kv << " " << cell;
      ++compared;
    }
  }
  EXPECT_EQ(compared, 57);
}

/// A row that is rebuilt gives each operation's digest again, and a wrong one would be told.
TEST_P(KvResidual, EveryOperationOfEveryRow) {
  for (const Precision precision : {Precision::fp32, Precision::fp64, Precision::fp8_e4m3}) {
    const auto recorded = [&](const std::string& kv, const std::string& cache, int ranks) {
      Cell cell;
      cell.cache = cache, cell.ranks = ranks, cell.batch = 2;
      GenerateRequest r = shorter(precision, kv, cell);
      r.level = TraceLevel::ops;
      r.max_new_tokens = 4;
      return run(runtime_, r);
    };
    const std::string want = recorded("exact", "on", 1);
    ASSERT_GT(want.size(), 100000u);
    EXPECT_EQ(want, recorded(kv_of(GetParam(), 0), "on", 1));
    EXPECT_EQ(want, recorded(kv_of(GetParam(), 16), "chunked:40+paged:16", 2));
  }
}

/// A budget that covers the longest sequence changes nothing and says so.
TEST_P(KvResidual, WhatCoversEverythingIsIdentity) {
  const std::string want = run(runtime_, shorter(Precision::fp32, "exact", {}));
  EXPECT_EQ(want, run(runtime_, shorter(Precision::fp32, kv_of(GetParam(), 262), {})));
  EXPECT_EQ(want, run(runtime_, shorter(Precision::fp32, kv_of(GetParam(), 5000), {})));
}

TEST_P(KvResidual, WithASlidingWindow) {
  Runtime runtime(deep_model(90));
  const std::string want = run(runtime, shorter(Precision::fp32, "exact", {}));
  Cell cell;
  for (const char* cache : {"on", "chunked:17+paged:16"}) {
    cell.cache = cache;
    EXPECT_EQ(want, run(runtime, shorter(Precision::fp32, kv_of(GetParam(), 20), cell)));
  }
}

/// Bytes between two steps: K and V of the budget, checkpoints of every position.
TEST_P(KvResidual, WhatIsKeptIsCounted) {
  for (const int budget : {0, 16}) {
    GenerateRequest r = shorter(Precision::fp32, kv_of(GetParam(), budget), {});
    r.prompts = {prompt(250)};
    r.max_new_tokens = 1;
    const auto result = runtime_.generate(r);
    ASSERT_TRUE(result);
    const Observed& o = result->trace.observed;
    const std::int64_t exact = 5 * 2 * 2 * 32 * 4;  // bytes of a position's K and V
    const std::int64_t layers = r.kv.residual->checkpoints(5);
    const std::int64_t checkpoint = layers == 0 ? 4 : layers * 48 * 4;
    EXPECT_EQ(o.kv_exact_bytes, 250 * exact);
    EXPECT_EQ(o.kv_bytes, budget * exact + 250 * checkpoint);
    EXPECT_EQ(o.kv_evicted, (250 - budget) * 5 * 2);
    EXPECT_EQ(o.kv_rebuilt, 0) << "no later row reads them";
    EXPECT_TRUE(o.kv_identity);
  }
}

/// Fills what a layer's attention has read, but for the latest positions, once its newest row is
/// computed: none of it may be read in another layer or step.
class Poisoning final : public selftest::ForwardingBackend {
 public:
  Poisoning(std::unique_ptr<Backend> inner, std::int64_t budget, std::int64_t& poisoned)
      : ForwardingBackend(std::move(inner), {}), budget_(budget), poisoned_(poisoned) {}
  void attention(Rows q, const AttentionRows& args, const void* k_pool, const void* v_pool,
                 Rows out) override {
    inner_->attention(q, args, k_pool, v_pool, out);
    const AttentionRows::Row& last = args.rows.back();
    // After the first step, rows from position 0 on are replayed, for the sake of others.
    if (++calls_ > kLayers && args.rows.front().position == 0) return;
    const std::int64_t width = args.kv_heads * args.head_dim;
    std::vector<float> nan(std::size_t(width), float_of(0x7fc00000u));
    const Rows x{nan.data(), 1, width, width};
    for (std::int64_t p = 0; p <= last.position - budget_; ++p) {
      const std::int64_t slot =
          std::int64_t(last.table[p / args.page_size]) * args.page_size + p % args.page_size;
      inner_->write_kv(x, x, {&slot, 1}, args.kv_heads, args.page_size, const_cast<void*>(k_pool),
                       const_cast<void*>(v_pool));
      ++poisoned_;
    }
  }

 private:
  std::int64_t budget_, calls_ = 0;
  std::int64_t& poisoned_;
};

TEST_P(KvResidual, OldValuesAreNeverReadAgain) {
  GenerateRequest exact = shorter(Precision::fp32, "exact", {});
  exact.prompts = {prompt(250)};
  const std::string want = run(runtime_, exact);
  for (const int budget : {0, 16, 200}) {
    for (const char* cache : {"on", "paged:16", "chunked:60"}) {
      GenerateRequest r = exact;
      r.cache = *parse_cache_mode(cache);
      r.kv = *parse_kv_policy(kv_of(GetParam(), budget));
      std::int64_t poisoned = 0;
      r.wrap_backend = [&](std::unique_ptr<Backend> inner) -> std::unique_ptr<Backend> {
        return std::make_unique<Poisoning>(std::move(inner), budget, poisoned);
      };
      EXPECT_EQ(want, run(runtime_, r)) << budget << " " << cache;
      EXPECT_GT(poisoned, 1000);
    }
  }
}

/// Whatever stands between a layer and the next: experts, norms of outputs, learned positions, …
TEST(KvResidualFamilies, EveryFamilyIsReplayed) {
  for (const Architecture* family : architectures()) {
    Runtime runtime(fakes::toy_model(fakes::odd_config(family->name)));
    const auto bits = [&](const std::string& kv, const std::string& cache, int ranks) {
      Cell cell;
      cell.cache = cache, cell.ranks = ranks, cell.batch = 2;
      GenerateRequest r = request(Precision::bf16, kv, cell);
      r.prompts = {prompt(61), prompt(40)};
      r.max_new_tokens = 4;
      r.level = TraceLevel::ops;
      const auto result = runtime.generate(r);
      return result ? bits_of_trace(result->trace) : result.error().text();
    };
    const std::string want = bits("exact", "on", 1);
    EXPECT_GT(want.size(), 100000u) << family->name;
    for (const char* form : {"every_layer", "(every:2)", "embedding"}) {
      EXPECT_TRUE(want == bits(kv_of(form, 0), "on", 1)) << family->name << " " << form;
      EXPECT_TRUE(want == bits(kv_of(form, 20), "chunked:17+paged:16", 2)) << family->name;
    }
  }
}

TEST(KvResidualRefused, WhatItCannotServe) {
  Runtime runtime(deep_model());
  const auto refusal = [&](const std::string& kv, const std::string& cache) {
    Cell cell;
    cell.cache = cache;
    const auto result = runtime.generate(shorter(Precision::fp32, kv, cell));
    return result ? std::string() : result.error().text();
  };
  EXPECT_NE(refusal("residual:embedding", "prefix").find("cache: prefix"), std::string::npos);
  EXPECT_NE(refusal("residual:(every:6)", "on").find("more than the model's 5"), std::string::npos);
}

class KvResidualGpu : public KvResidual {
 protected:
  void SetUp() override { cuda_test::need_gpu(); }
};
INSTANTIATE_TEST_SUITE_P(Form, KvResidualGpu, ::testing::ValuesIn(kForms), name_of_form);
INSTANTIATE_TEST_SUITE_P(Wide, KvResidualGpu, ::testing::ValuesIn(kOthers), name_of_form);

TEST_P(KvResidualGpu, OneDigestWithTheExactCache) {
  for (const Precision precision : {Precision::fp32, Precision::bf16}) {
    const std::string want = run(runtime_, shorter(precision, "exact", {}));
    for (const int budget : {0, 16, 200}) {
      for (const char* cache : {"on", "off", "chunked:17", "paged:16", "recomputed",
                                "chunked:17+paged:7+speculative:5"}) {
        Cell cell;
        cell.device = "cuda", cell.cache = cache, cell.batch = budget == 16 ? 3 : 1;
        const std::string kv = kv_of(GetParam(), budget);
        EXPECT_EQ(want, run(runtime_, shorter(precision, kv, cell))) << kv << " " << cell;
      }
    }
  }
}

}  // namespace
}  // namespace isobit::kv_test
