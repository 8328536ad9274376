// Every kind of RoPE has one digest, whatever the batch, ranks, cache mode, instruction set and
// threads. For the kinds that look at the length that is a choice (NUMERICS.md, "RoPE"): a row
// depends on its position and on the prompt's length alone.
#include "tests/conformance/architecture_cases.h"

namespace isobit::architecture_test {
namespace {

using Kind = RopeScaling::Kind;

struct NamedRope {
  const char* name;
  Rope rope;
};

/// The original context lies within the longest prompt, and within what a shorter one generates.
Rope rope_of(Kind kind) {
  Rope rope;
  rope.scaling.kind = kind;
  rope.scaling.original_context = 60;
  if (kind != Kind::none) rope.scaling.factor = 4.0;
  if (kind == Kind::yarn) rope.scaling.attention_factor = 1.125;
  if (kind != Kind::longrope) return rope;
  rope.dims = 18;
  rope.scaling.attention_factor = 1.25;
  rope.factors.assign(9, 1.25F);
  rope.long_factors = {1, 1.5F, 2, 3, 4, 5, 6, 7, 8};
  return rope;
}

std::vector<NamedRope> kinds() {
  Rope partial;
  partial.dims = 18;
  return {{"plain", Rope()},
          {"partial", partial},
          {"linear", rope_of(Kind::linear)},
          {"dynamic", rope_of(Kind::dynamic)},
          {"llama3", rope_of(Kind::llama3)},
          {"yarn", rope_of(Kind::yarn)},
          {"longrope", rope_of(Kind::longrope)}};
}

ModelConfig config_of(const Rope& rope) {
  ModelConfig config = fakes::odd_config("llama");
  config.ropes = {rope};
  return config;
}

class RopeKinds : public ::testing::TestWithParam<NamedRope> {
 protected:
  static std::string run(Runtime& runtime, const GenerateRequest& request) {
    const auto result = runtime.generate(request);
    if (!result) return result.error().text();
    EXPECT_EQ(result->trace.status, CellStatus::ok) << result->trace.reason;
    return bits_of_trace(result->trace);
  }
  /// Prompts of lengths below, near and beyond the original context, so that two of them have rows
  /// of their own; the texts of those near it cross it.
  [[nodiscard]] GenerateRequest request(Precision precision, int batch, const std::string& cache) {
    GenerateRequest r = ranks_test::request(runtime_, precision, 1, batch, cache);
    r.prompts.clear();
    for (const int length : {3, 58, 61, 75, 130}) {
      r.prompts.push_back({fakes::prompt(length), {}});
    }
    r.max_new_tokens = 6;
    return r;
  }

  Runtime runtime_{fakes::toy_model(config_of(GetParam().rope))};
};

TEST_P(RopeKinds, OneDigestForEveryBatchRanksAndCache) {
  for (const Precision precision : {Precision::fp32, Precision::bf16, Precision::fp64}) {
    GenerateRequest plain = request(precision, 1, "on");
    plain.level = TraceLevel::ops;
    plain.backend.isa = "scalar";
    const std::string ops = run(runtime_, plain);
    ASSERT_GT(ops.size(), 100000u);
    plain.backend.isa = "auto";
    plain.backend.threads = 3;
    plain.batch.size = 4;
    plain.batch.staggered = true;
    EXPECT_EQ(ops, run(runtime_, plain));
    plain.ranks = 4;
    plain.backend.threads = 1;
    EXPECT_EQ(ops, run(runtime_, plain)) << "4 ranks";
    compose(plain);
    EXPECT_EQ(ops, run(runtime_, plain)) << "operation by operation";
    const std::string want = run(runtime_, request(precision, 1, "on"));
    for (const char* cache :
         {"off", "chunked:1", "chunked:17", "paged:17", "prefix", "recomputed"}) {
      EXPECT_EQ(want, run(runtime_, request(precision, 3, cache))) << cache;
    }
  }
}

TEST_P(RopeKinds, OtherBitsThanPlainRope) {
  Runtime plain(fakes::toy_model(config_of(Rope())));
  const GenerateRequest r = request(Precision::fp32, 2, "on");
  EXPECT_EQ(run(plain, r) == run(runtime_, r), std::string("plain") == GetParam().name);
}

INSTANTIATE_TEST_SUITE_P(Table, RopeKinds, ::testing::ValuesIn(kinds()),
                         [](const auto& each) { return std::string(each.param.name); });

}  // namespace
}  // namespace isobit::architecture_test
