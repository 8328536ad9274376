// The transform "multi-head": the same function of as many KV heads as query heads.
#include <gtest/gtest.h>

#include "harness/models/files.h"
#include "runtime/run/generate.h"

namespace isobit {
namespace {

constexpr const char* kNowhere = "/nonexistent";  // a scenario's folder

class MultiHead : public testing::Test {
 protected:
  void SetUp() override {
    if (models::manifest_path("default-7m", kNowhere).empty()) GTEST_SKIP() << "no default-7m";
  }
  static LoadedModel open(const char* name) {
    auto model = open_model(name, kNowhere);
    EXPECT_TRUE(model) << (model ? "" : model.error().text());
    return std::move(*model);
  }
};

TEST_F(MultiHead, RepeatsEachHeadForItsGroup) {
  const LoadedModel before = open("default-7m"), after = open("default-7m-multi-head");
  ASSERT_EQ(before.config.kv_heads, 2);
  EXPECT_EQ(after.config.kv_heads, 8);
  const std::int64_t d = before.config.head_dim;
  for (const char* name : {"k_proj", "v_proj"}) {
    const std::string full = std::string("model.layers.3.self_attn.") + name + ".weight";
    const Tensor& a = *before.weights.find(full);
    const Tensor& b = *after.weights.find(full);
    ASSERT_EQ(b.rows, 8 * d);
    EXPECT_EQ(b.shape, (std::vector<std::int64_t>{8 * d, a.cols}));
    std::vector<float> x(std::size_t(a.cols)), y(x.size());
    for (std::int64_t row = 0; row < b.rows; ++row) {
      a.read_row(row / d / 4 * d + row % d, 0, a.cols, x);
      b.read_row(row, 0, b.cols, y);
      EXPECT_EQ(x, y) << row;
    }
  }
  EXPECT_EQ(after.weights.find("model.layers.3.self_attn.q_proj.weight")->rows, 8 * d);
}

TEST_F(MultiHead, KeepsEveryBit) {
  Runtime grouped(open("default-7m")), single(open("default-7m-multi-head"));
  for (const Precision precision : {Precision::fp32, Precision::bf16, Precision::fp8_e4m3}) {
    GenerateRequest request;
    request.precision = precision;
    request.prompts.resize(2);
    request.prompts[0].tokens = {0, 84, 423, 150, 69, 408};
    request.prompts[1].tokens = {0, 275, 59};
    request.max_new_tokens = 6;
    request.batch.size = 2;
    const auto a = grouped.generate(request), b = single.generate(request);
    ASSERT_TRUE(a && b);
    EXPECT_EQ(cell_root(a->trace), cell_root(b->trace)) << int(precision);
    EXPECT_EQ(b->trace.observed.kv_exact_bytes, 4 * a->trace.observed.kv_exact_bytes);
  }
}

TEST_F(MultiHead, RefusesAModelThatHasNoGroups) {
  LoadedModel model = open("default-7m-multi-head");
  const auto again = models::apply_multi_head(model);
  ASSERT_FALSE(again);
  EXPECT_NE(again.error().message.find("nothing to do"), std::string::npos);
}

}  // namespace
}  // namespace isobit
