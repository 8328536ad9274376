// LayerCast in both forms: fp32 bit for bit on a bf16 checkpoint, and not on an fp32 one.
#include <gtest/gtest.h>

#include <set>

#include "runtime/checkpoint/weights.h"
#include "runtime/run/generate.h"

namespace isobit {
namespace {

/// Logits digests and tokens of a shipped model; two prompts, on `ranks` ranks.
Sha256 root_of(Runtime& runtime, Precision precision, int ranks) {
  GenerateRequest request;
  request.precision = precision;
  request.ranks = ranks;
  request.batch.size = 2;
  request.max_new_tokens = 6;
  request.prompts.resize(2);
  for (std::int32_t i = 0; i < 20; ++i) request.prompts[0].tokens.push_back(11 * i % 97);
  for (std::int32_t i = 0; i < 9; ++i) request.prompts[1].tokens.push_back(5 + 7 * i);
  auto result = runtime.generate(request);
  EXPECT_TRUE(result) << result.error().text();
  EXPECT_EQ(result->trace.status, CellStatus::ok) << result->trace.reason;
  EXPECT_EQ(result->trace.prompts[1].tokens.size(), 6U);
  return cell_root(result->trace);
}

Runtime shipped(const std::string& name) {
  auto model = load_model(ISOBIT_SOURCE_DIR "/scenarios/models/" + name);
  ISOBIT_CHECK(model.has_value());
  return Runtime(std::move(*model));
}

TEST(LayerCast, BothFormsAreFp32OnABf16Checkpoint) {
  Runtime runtime = shipped("default-7m");
  const Sha256 fp32 = root_of(runtime, Precision::fp32, 1);
  for (const int ranks : {1, 2}) {
    EXPECT_EQ(root_of(runtime, Precision::layercast_bf16, ranks), fp32) << ranks;
    EXPECT_EQ(root_of(runtime, Precision::layercast_bf16_paper, ranks), fp32) << ranks;
  }
  // fp16 has fewer exponents: some bf16 weight is not exact in it.
  EXPECT_NE(root_of(runtime, Precision::layercast_fp16, 1), fp32);
  EXPECT_NE(root_of(runtime, Precision::bf16, 1), fp32);
}

TEST(LayerCast, FormsAreFourFunctionsOnAnFp32Checkpoint) {
  Runtime runtime = shipped("nano-300k");
  std::set<Sha256> roots{root_of(runtime, Precision::fp32, 1)};
  for (const Precision precision : {Precision::layercast_bf16, Precision::layercast_bf16_paper,
                                    Precision::layercast_fp16, Precision::layercast_fp16_paper}) {
    const Sha256 root = root_of(runtime, precision, 1);
    EXPECT_TRUE(roots.insert(root).second) << mode_of(precision).name;
    EXPECT_EQ(root_of(runtime, precision, 4), root) << mode_of(precision).name;
  }
}

/// The matrices that `paper` rounds and what it does not, told by what enters a layer.
TEST(LayerCast, ThePaperLeavesTheEmbeddingAlone) {
  Runtime runtime = shipped("nano-300k");
  const auto embedding = [&](Precision precision) {
    GenerateRequest request;
    request.precision = precision;
    request.level = TraceLevel::layers;
    request.max_new_tokens = 1;
    request.prompts = {{{1, 2, 3}, {}}};
    auto result = runtime.generate(request);
    EXPECT_TRUE(result);
    EXPECT_EQ(result->trace.prompts[0].observations[0].site, Site::embed);
    return result->trace.prompts[0].observations[0].digest;
  };
  const Digest fp32 = embedding(Precision::fp32);
  EXPECT_EQ(embedding(Precision::layercast_bf16_paper), fp32);
  EXPECT_NE(embedding(Precision::layercast_bf16), fp32);
}

}  // namespace
}  // namespace isobit
