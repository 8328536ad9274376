// Fused, transposed and stacked matrices: the parts have the values of the whole, in their places.
#include "runtime/checkpoint/fused.h"

#include <gtest/gtest.h>

#include "tests/fakes/model.h"

namespace isobit {
namespace {

ModelConfig config_of(const std::string& family) {
  ModelConfig c = fakes::odd_config(family);
  c.layers = 1;
  c.hidden_size = 16;
  c.heads = 2;
  c.kv_heads = family == "gpt2" ? 2 : 1;
  c.head_dim = 8;
  c.intermediate_size = 5;
  c.slides.clear();
  return c;
}

/// A tensor whose element (r, c) is 1000 r + c.
Tensor numbered(Weights& weights, const std::string& name, std::vector<std::int64_t> shape) {
  Tensor t;
  t.name = name;
  t.shape = std::move(shape);
  t.rows = t.shape.size() == 1 ? 1 : t.shape[0];
  t.cols = t.shape.back();
  const auto values = std::make_shared<std::vector<float>>();
  for (std::int64_t r = 0; r < t.rows; ++r) {
    for (std::int64_t c = 0; c < t.cols; ++c) values->push_back(float(1000 * r + c));
  }
  t.bytes = std::as_bytes(std::span(*values));
  weights.keep(std::shared_ptr<const void>(values));
  return t;
}

float at(const Weights& weights, const std::string& name, std::int64_t r, std::int64_t c) {
  const Tensor* tensor = weights.find(name);
  EXPECT_NE(tensor, nullptr) << name;
  float out = -1;
  if (tensor != nullptr) tensor->read_row(r, c, c + 1, std::span(&out, 1));
  return out;
}

TEST(Fused, RowsOfPhi3) {
  const ModelConfig c = config_of("phi3");
  Weights weights;
  const std::string l = "model.layers.0.";
  weights.add(numbered(weights, l + "self_attn.qkv_proj.weight", {32, 16}));
  weights.add(numbered(weights, l + "mlp.gate_up_proj.weight", {10, 16}));
  const auto done = split_fused(c, FileForm::hugging_face, "m", weights);
  ASSERT_TRUE(done.has_value()) << done.error().text();
  EXPECT_EQ(weights.all().size(), 5u) << "the fused ones are gone";
  EXPECT_EQ(weights.find(l + "self_attn.q_proj.weight")->shape,
            (std::vector<std::int64_t>{16, 16}));
  EXPECT_EQ(weights.find(l + "self_attn.v_proj.weight")->shape, (std::vector<std::int64_t>{8, 16}));
  EXPECT_EQ(at(weights, l + "self_attn.q_proj.weight", 15, 3), 15003);
  EXPECT_EQ(at(weights, l + "self_attn.k_proj.weight", 0, 0), 16000);
  EXPECT_EQ(at(weights, l + "self_attn.v_proj.weight", 7, 15), 31015);
  EXPECT_EQ(at(weights, l + "mlp.gate_proj.weight", 4, 1), 4001);
  EXPECT_EQ(at(weights, l + "mlp.up_proj.weight", 0, 1), 5001);
}

TEST(Fused, ColumnsOfGpt2AreRowsInItsGguf) {
  const ModelConfig c = config_of("gpt2");
  for (const bool gguf : {false, true}) {
    Weights weights;
    const std::string l = "transformer.h.0.";
    const auto shape = [&](std::int64_t outputs, std::int64_t inputs) {
      return gguf ? std::vector{outputs, inputs} : std::vector{inputs, outputs};
    };
    weights.add(numbered(weights, l + "attn.c_attn.weight", shape(48, 16)));
    weights.add(numbered(weights, l + "attn.c_attn.bias", {48}));
    weights.add(numbered(weights, l + "attn.c_proj.weight", shape(16, 16)));
    weights.add(numbered(weights, l + "attn.c_proj.bias", {16}));
    weights.add(numbered(weights, l + "mlp.c_fc.weight", shape(5, 16)));
    weights.add(numbered(weights, l + "mlp.c_fc.bias", {5}));
    weights.add(numbered(weights, l + "mlp.c_proj.weight", shape(16, 5)));
    weights.add(numbered(weights, l + "mlp.c_proj.bias", {16}));
    const FileForm form = gguf ? FileForm::gguf : FileForm::hugging_face;
    const auto done = split_fused(c, form, "m", weights);
    ASSERT_TRUE(done.has_value()) << done.error().text();
    const auto element = [&](std::int64_t output, std::int64_t input) {
      return float(gguf ? 1000 * output + input : 1000 * input + output);
    };
    EXPECT_EQ(at(weights, l + "attn.q.weight", 3, 7), element(3, 7));
    EXPECT_EQ(at(weights, l + "attn.k.weight", 3, 7), element(19, 7));
    EXPECT_EQ(at(weights, l + "attn.v.weight", 15, 0), element(47, 0));
    EXPECT_EQ(at(weights, l + "attn.v.bias", 0, 2), 34);
    EXPECT_EQ(at(weights, l + "attn.c_proj.weight", 1, 2), element(1, 2));
    EXPECT_EQ(weights.find(l + "mlp.c_fc.weight")->shape, (std::vector<std::int64_t>{5, 16}));
    EXPECT_EQ(at(weights, l + "mlp.c_proj.weight", 15, 4), element(15, 4));
  }
}

TEST(Fused, WrongShapesAndMissingMatricesAreNamed) {
  const ModelConfig c = config_of("phi3");
  Weights weights;
  const auto error = [&] {
    const auto done = split_fused(c, FileForm::hugging_face, "m", weights);
    return done ? "no error" : done.error().text();
  };
  EXPECT_EQ(error(),
            "m: tensor \"model.layers.0.self_attn.qkv_proj.weight\" of shape [32, 16] is missing");
  weights.add(numbered(weights, "model.layers.0.self_attn.qkv_proj.weight", {31, 16}));
  EXPECT_EQ(error(),
            "m: tensor \"model.layers.0.self_attn.qkv_proj.weight\" has shape [31, 16] but the "
            "config needs [32, 16]");
  Weights biases;
  Tensor bias = numbered(biases, "transformer.h.0.attn.c_attn.bias", {96});
  bias.type = TensorType::q8_0;
  ModelConfig wide = config_of("gpt2");
  wide.head_dim = 16;
  biases.add(numbered(biases, "transformer.h.0.attn.c_attn.weight", {96, 16}));
  biases.add(bias);
  const auto refused = split_fused(wide, FileForm::gguf, "m", biases);
  ASSERT_FALSE(refused.has_value());
  EXPECT_NE(refused.error().text().find("Q8_0 blocks of a bias"), std::string::npos)
      << refused.error().text();
  Weights blocks;
  Tensor coded = numbered(blocks, "transformer.h.0.attn.c_attn.weight", {16, 96});
  coded.type = TensorType::q8_0;
  ModelConfig gpt2 = config_of("gpt2");
  gpt2.head_dim = 16;
  blocks.add(coded);
  const auto done = split_fused(gpt2, FileForm::hugging_face, "m", blocks);
  ASSERT_FALSE(done.has_value());
  EXPECT_NE(done.error().text().find("Q8_0 blocks of a transposed matrix"), std::string::npos)
      << done.error().text();
}

}  // namespace
}  // namespace isobit
