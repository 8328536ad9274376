// Lossless layouts that join, and speculative steps: one digest with `on`, however they are
// combined, batched, cut over ranks, sampled or taught; and nothing of a wrong draft is recorded.
#include <algorithm>

#include "tests/conformance/cuda_pair.h"
#include "tests/conformance/kv_cases.h"

namespace isobit::kv_test {
namespace {

const char* const kJoined[] = {"chunked:17+paged:16",
                               "chunked:17+prefix:true",
                               "chunked:9+paged:7+prefix:true",
                               "paged:1+prefix:true",
                               "chunked:17+recomputed:true",
                               "chunked:17+paged:5+recomputed:true",
                               "speculative:1",
                               "speculative:2",
                               "speculative:4",
                               "speculative:7",
                               "chunked:17+paged:16+speculative:4",
                               "paged:1+speculative:7",
                               "prefix:true+speculative:3",
                               "chunked:9+paged:7+prefix:true+speculative:5",
                               "recomputed:true+speculative:4"};

/// The bits of a run in which every part of the mode was exercised.
std::string run(Runtime& runtime, const GenerateRequest& r) {
  const auto result = runtime.generate(r);
  if (!result) return result.error().text();
  const Observed& o = result->trace.observed;
  EXPECT_EQ(result->trace.status, CellStatus::ok) << result->trace.reason;
  EXPECT_EQ(o.chunks > 1, r.cache.chunk > 0) << r.cache.name;
  EXPECT_EQ(o.prefix_hits > 0, r.cache.shares_prefix) << r.cache.name;
  EXPECT_EQ(o.recomputed > 0, r.cache.recomputes) << r.cache.name;
  EXPECT_EQ(o.drafted > 0, r.cache.drafts > 0) << r.cache.name;
  EXPECT_GE(o.drafted, o.draft_hits + o.rolled_back);
  if (r.cache.drafts > 0) {
    EXPECT_GT(o.draft_hits, 0) << r.cache.name;
    EXPECT_GT(o.rolled_back, 0) << r.cache.name;
  }
  return bits_of_trace(result->trace);
}

/// Prompts that repeat themselves, so that drafts are made; the model's greedy text repeats too.
GenerateRequest repeating(Precision precision, const std::string& kv, const Cell& cell) {
  GenerateRequest r = request(precision, kv, cell);
  for (PromptTokens& prompt : r.prompts) {
    for (std::size_t i = prompt.tokens.size() / 2; i < prompt.tokens.size(); ++i) {
      prompt.tokens[i] = prompt.tokens[i - prompt.tokens.size() / 2];
    }
  }
  return r;
}

class CacheModes : public ::testing::TestWithParam<const char*> {
 protected:
  Runtime runtime_{model()};
};
INSTANTIATE_TEST_SUITE_P(Kv, CacheModes, ::testing::Values("exact", "q8_0"));

TEST_P(CacheModes, OneDigestInEveryCell) {
  const Precision precision = Precision::bf16;
  const std::string want = run(runtime_, repeating(precision, GetParam(), {}));
  ASSERT_GT(want.size(), 5000u) << want;
  for (const char* mode : kJoined) {
    for (const int ranks : {1, 2, 4}) {
      Cell cell;
      cell.cache = mode, cell.ranks = ranks, cell.batch = ranks == 2 ? 3 : 1;
      EXPECT_EQ(want, run(runtime_, repeating(precision, GetParam(), cell))) << cell;
      cell.staggered = true, cell.batch = 2;
      if (ranks > 1) continue;
      EXPECT_EQ(want, run(runtime_, repeating(precision, GetParam(), cell))) << cell;
    }
  }
}

/// Every operation of every row: a row that was drafted wrong is in no record.
TEST_P(CacheModes, EveryOperationOfEveryRow) {
  const auto recorded = [&](const std::string& cache, std::int64_t batch, int ranks) {
    Cell cell;
    cell.cache = cache, cell.batch = batch, cell.ranks = ranks;
    GenerateRequest r = repeating(Precision::fp32, GetParam(), cell);
    r.level = TraceLevel::ops;
    r.max_new_tokens = 24;
    r.prompts.resize(2);
    return run(runtime_, r);
  };
  const std::string want = recorded("on", 1, 1);
  ASSERT_GT(want.size(), 100000u);
  EXPECT_EQ(want, recorded("speculative:1", 1, 1));
  EXPECT_EQ(want, recorded("speculative:7", 2, 2));
  EXPECT_EQ(want, recorded("chunked:9+paged:7+prefix:true+speculative:4", 2, 1));
  EXPECT_EQ(want, recorded("recomputed:true+speculative:4", 1, 1));
  EXPECT_EQ(want, recorded("chunked:17+paged:5+recomputed:true", 2, 1));
}

TEST_P(CacheModes, SampledTaughtEndedAndSpilled) {
  for (const char* what : {"sampled", "taught", "ended", "spilled"}) {
    const std::string way = what;
    std::string want;
    for (const char* cache : {"on", "speculative:2", "chunked:17+paged:16+speculative:7"}) {
      Cell cell;
      cell.cache = cache, cell.batch = 3;
      GenerateRequest r = repeating(Precision::fp32, GetParam(), cell);
      if (way == "sampled") {
        r.sampler.temperature = 0.7, r.sampler.seed = 5;
        r.sampler.top_k = 3;
      }
      if (way == "taught") {
        for (PromptTokens& prompt : r.prompts) {
          prompt.teacher.assign(prompt.tokens.begin(), prompt.tokens.begin() + 25);
        }
      }
      const auto plain = runtime_.generate(r);
      ASSERT_TRUE(plain);
      if (way == "ended") r.eos = {plain->trace.prompts[0].tokens[9].id};
      std::map<std::pair<int, std::int64_t>, std::string> rows;
      if (way == "spilled") {
        r.spill = [&](int prompt, std::int64_t position, std::span<const std::byte> row) {
          rows[{prompt, position}].assign(reinterpret_cast<const char*>(row.data()), row.size());
        };
        r.capture = {{0, 101}, {2, 260}};
      }
      std::string got = run(runtime_, r);
      for (const auto& [key, row] : rows) got += std::to_string(key.second) + " " + row;
      if (want.empty()) want = got;
      EXPECT_TRUE(want == got) << what << " " << cache;
    }
  }
}

/// Policies that act without waiting for the prompt's end share prefixes of any page and chunk;
/// what a window has hidden is gone from the shared pages too.
TEST(CacheModesPointwise, JoinWithPoliciesThatDoNotWait) {
  Runtime runtime(model());
  for (const char* kv : {"window:40", "streaming:40", "bits:4", "normal:0/0.1"}) {
    const std::string want = run(runtime, repeating(Precision::bf16, kv, {}));
    ASSERT_GT(want.size(), 5000u) << kv << " " << want;
    for (const char* mode :
         {"chunked:17+paged:16", "chunked:17+prefix:true", "chunked:9+paged:7+prefix:true",
          "chunked:17+paged:5+recomputed:true"}) {
      Cell cell;
      cell.cache = mode, cell.batch = 3;
      EXPECT_TRUE(want == run(runtime, repeating(Precision::bf16, kv, cell))) << kv << " " << cell;
    }
  }
}

TEST(CacheModesRefused, APolicyThatActsAfterRows) {
  Runtime runtime(model());
  for (const char* kv : {"kivi:2", "tova:64"}) {
    Cell cell;
    cell.cache = "paged:16+speculative:4";
    const auto result = runtime.generate(request(Precision::fp32, kv, cell));
    ASSERT_FALSE(result) << kv;
    EXPECT_NE(result.error().text().find("cannot verify drafts with it"), std::string::npos);
  }
}

class CacheModesGpu : public CacheModes {
 protected:
  void SetUp() override { cuda_test::need_gpu(); }
};
INSTANTIATE_TEST_SUITE_P(Kv, CacheModesGpu, ::testing::Values("exact", "q8_0"));

TEST_P(CacheModesGpu, OneDigestInEveryCell) {
  for (const Precision precision : {Precision::fp32, Precision::bf16}) {
    const std::string want = run(runtime_, repeating(precision, GetParam(), {}));
    for (const char* mode : kJoined) {
      for (const std::int64_t batch : {1, 3}) {
        Cell cell;
        cell.device = "cuda", cell.cache = mode, cell.batch = batch;
        EXPECT_EQ(want, run(runtime_, repeating(precision, GetParam(), cell))) << cell;
      }
    }
  }
}

}  // namespace
}  // namespace isobit::kv_test
