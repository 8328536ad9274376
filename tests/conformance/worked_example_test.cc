// NUMERICS.md's worked example, Philox and draw vectors: the page holds the expected values.

#include <gtest/gtest.h>

#include <fstream>
#include <functional>
#include <sstream>

#include "runtime/numerics/digest.h"
#include "runtime/numerics/functions.h"
#include "runtime/numerics/schedule_text.h"
#include "runtime/run/generate.h"
#include "tests/fakes/model.h"

namespace isobit {
namespace {

std::string numerics_page() {
  std::ifstream file(std::string(ISOBIT_SOURCE_DIR) + "/runtime/numerics/NUMERICS.md");
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

std::string hex32(std::uint32_t x) {
  char text[16];
  std::snprintf(text, sizeof text, "%08x", x);
  return text;
}

TEST(WorkedExample, PhiloxVectorsAreOnThePage) {
  const std::string page = numerics_page();
  const auto line = [](PhiloxBlock counter, std::uint64_t key) {
    const PhiloxBlock out = philox4x32(counter, key);
    std::string text;
    for (const std::uint32_t w : out.word) text += (text.empty() ? "" : " ") + hex32(w);
    return text;
  };
  // Published vectors of Random123 (Salmon et al. 2011): all zero, all one.
  EXPECT_EQ(line({{0, 0, 0, 0}}, 0), "6627e8d5 e169c58d bc57ac4c 9b00dbd8");
  EXPECT_EQ(line({{~0u, ~0u, ~0u, ~0u}}, ~0ull), "408f276d 41c83b0e a20bc7c6 6d5451fd");
  EXPECT_NE(page.find("`6627e8d5 e169c58d bc57ac4c 9b00dbd8`"), std::string::npos);
  const std::vector<std::int32_t> tokens = {1, 2, 3};
  const std::uint64_t hash = prompt_hash(tokens);
  const std::string draw = "hash " + hex32(std::uint32_t(hash >> 32)) + hex32(std::uint32_t(hash)) +
                           ", n = " + std::to_string(draw24(42, hash, 3, 0));
  EXPECT_NE(page.find(draw), std::string::npos) << draw;
}

/// Digest of f over the page's 65,536 inputs.
template <class T, class F>
std::string function_digest(const F& f) {
  std::vector<T> results;
  for (std::uint32_t e = 0; e < 65536; ++e) {
    results.push_back(f(T(draw24(2026, 0, e, 8)) * T(0x1p-24) - T(0.5)));
  }
  return to_hex(digest_bytes(std::as_bytes(std::span(results))));
}

TEST(WorkedExample, FunctionsHaveTheDigestsOfThePage) {
  const std::string page = numerics_page();
  const auto expect = [&](const std::string& name, const std::string& digest) {
    EXPECT_NE(page.find("| " + name + " | `" + digest + "` |"), std::string::npos)
        << name << " " << digest;
  };
  expect("exp, fp32, of x·256", function_digest<float>([](float x) { return exp_(x * 256); }));
  expect("silu, fp32, of x·256", function_digest<float>([](float x) { return silu_(x * 256); }));
  expect("exp, fp64, of x·2048", function_digest<double>([](double x) { return exp_(x * 2048); }));
  expect("log of exp fp64 of x·1400",
         function_digest<double>([](double x) { return log_(exp_(x * 1400)); }));
  expect("sin of x·2^21", function_digest<double>([](double x) { return sin_(x * 0x1p21); }));
  expect("cos of x·2^21", function_digest<double>([](double x) { return cos_(x * 0x1p21); }));
}

/// What a row of the table asks besides its precision: a cache policy, a schedule; none: nothing.
struct Row {
  std::string name;
  std::function<void(GenerateRequest&)> ask = [](GenerateRequest&) {};
};
Row policy_row(const std::string& kv) {
  return {kv, [kv](GenerateRequest& request) { request.kv = *parse_kv_policy(kv); }};
}
Row schedule_row(const std::string& gemm) {
  return {gemm,
          [gemm](GenerateRequest& request) { request.backend.gemm = *parse_schedules(gemm, ""); }};
}

/// One table line: digests of three rows with their tokens.
std::string table_line(Runtime& runtime, Precision precision, const std::string& isa, int ranks,
                       const Row& row = {}) {
  GenerateRequest request;
  row.ask(request);
  request.precision = precision;
  request.backend.isa = isa;
  request.ranks = ranks;
  request.prompts = {{fakes::prompt(300), {}}};
  request.max_new_tokens = 3;
  auto result = runtime.generate(request);
  if (!result) return result.error().text();
  std::string line = "| " + (row.name.empty() ? "" : row.name + ", ") + mode_of(precision).name;
  for (const TokenRecord& token : result->trace.prompts[0].tokens) {
    line += " | `" + to_hex(token.digest) + "` " + std::to_string(token.id);
  }
  return line + " |";
}

class WorkedExampleIn : public testing::TestWithParam<Precision> {};

TEST_P(WorkedExampleIn, DigestsAreThoseOfThePage) {
  Runtime runtime(fakes::toy_model(fakes::worked_example()));
  const std::string page = numerics_page();
  const std::string scalar = table_line(runtime, GetParam(), "scalar", 1);
  EXPECT_NE(page.find(scalar), std::string::npos) << scalar;
  EXPECT_EQ(table_line(runtime, GetParam(), "auto", 4), scalar);
}

TEST(WorkedExampleWide, PoliciesHaveTheDigestsOfThePage) {
  Runtime runtime(fakes::toy_model(fakes::worked_example_of_policies()));
  const std::string page = numerics_page();
  for (const char* kv : {"bits:3",
                         "bits:3+round:down",
                         "uniform:-0.5/0.5",
                         "normal:0/0.25",
                         "normal:0/0.25+at:before_rope+of:k",
                         "lognormal:0.5",
                         "q8_0",
                         "q4_0",
                         "q4_1",
                         "q5_0",
                         "q5_1",
                         "iq4_nl",
                         "ggml:(k:q8_0+v:q4_0)",
                         "rtn:4",
                         "rtn:4+rotate:hadamard",
                         "rtn:4+per:channel",
                         "rtn:2+group:64+per:channel+when:block",
                         "kivi:2",
                         "kivi:4",
                         "kvarn:k4v2+group:32+sink:32",
                         "window:64",
                         "streaming:64",
                         "streaming:64+positions:in_cache",
                         "h2o:64",
                         "snapkv:64",
                         "tova:64",
                         "knorm:64",
                         "expected_attention:64",
                         "chain:snapkv:64>q8_0",
                         "chain:tova:64>kivi:2"}) {
    for (const Precision precision : {Precision::fp32, Precision::bf16}) {
      const std::string scalar = table_line(runtime, precision, "scalar", 1, policy_row(kv));
      EXPECT_NE(page.find(scalar), std::string::npos) << scalar;
      EXPECT_EQ(table_line(runtime, precision, "auto", 4, policy_row(kv)), scalar);
    }
  }
}

/// Not on several ranks: a schedule is of the product that a rank makes.
TEST(WorkedExample, SchedulesHaveTheDigestsOfThePage) {
  Runtime runtime(fakes::toy_model(fakes::worked_example()));
  const std::string page = numerics_page();
  for (const char* gemm :
       {"split_k:1", "split_k:3+slice:16", "split_k:5+combine:tree+out:bf16+slice:1",
        "by_rows:(1:(split_k:4+slice:1)+2:(split_k:1+out:bf16))"}) {
    for (const Precision precision : {Precision::fp32, Precision::bf16, Precision::fp8_e4m3}) {
      const std::string scalar = table_line(runtime, precision, "scalar", 1, schedule_row(gemm));
      EXPECT_NE(page.find(scalar), std::string::npos) << scalar;
      EXPECT_EQ(table_line(runtime, precision, "auto", 1, schedule_row(gemm)), scalar);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(EveryPrecision, WorkedExampleIn,
                         testing::Values(Precision::fp64, Precision::fp32, Precision::tf32,
                                         Precision::bf16, Precision::fp16, Precision::fp8_e4m3,
                                         Precision::fp8_e5m2, Precision::layercast_bf16,
                                         Precision::layercast_fp16, Precision::layercast_bf16_paper,
                                         Precision::layercast_fp16_paper),
                         [](const testing::TestParamInfo<Precision>& each) {
                           std::string name = mode_of(each.param).name;
                           for (char& c : name) c = c == '-' ? '_' : c;
                           return name;
                         });

}  // namespace
}  // namespace isobit
