// The architecture table: what each family needs, in which shape, and how ranks cut it.
#include "runtime/model/arch/architecture.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "runtime/backends/registry.h"
#include "runtime/checkpoint/load_check.h"
#include "tests/fakes/model.h"

namespace isobit {
namespace {

using Shape = std::vector<std::int64_t>;

/// Sizes that no two dimensions share.
ModelConfig config_of(const std::string& architecture) {
  ModelConfig c = fakes::odd_config(architecture);
  c.heads = 6;
  c.kv_heads = 2;
  c.head_dim = 16;
  c.layers = 2;
  c.slides.clear();
  return c;
}

std::string error_of(const Result<void>& result) {
  return result ? "no error" : result.error().text();
}

/// Shape of a needed tensor; empty when the model needs none of that name.
Shape shape_of(const ModelConfig& config, const std::string& name) {
  for (const TableTensor& each : needed_tensors(config)) {
    if (each.name == name) return each.shape;
  }
  return {};
}

TEST(Architecture, FamiliesAreFoundByEveryName) {
  for (const Architecture* family : architectures()) {
    EXPECT_EQ(find_architecture(family->name), family);
    EXPECT_EQ(find_architecture_of_class(family->class_name), family);
    if (family->gguf.architecture != nullptr) {
      EXPECT_EQ(find_architecture_of_gguf(family->gguf.architecture), family);
    }
    ModelConfig config;
    config.architecture = family->name;
    EXPECT_EQ(&architecture_of(config), family);
  }
  EXPECT_EQ(find_architecture("gpt2"), nullptr);
  EXPECT_EQ(find_architecture(""), nullptr);
  EXPECT_EQ(find_architecture_of_gguf("mistral"), nullptr);  // llama.cpp writes it as a Llama
  EXPECT_EQ(architecture_names([](const Architecture& a) { return a.name; }),
            "llama, mistral, qwen2, qwen3");
  EXPECT_EQ(architecture_names([](const Architecture& a) { return a.gguf.architecture; }),
            "llama, qwen2, qwen3");
}

TEST(Architecture, ShapesAreThoseOfTheConfig) {
  for (const Architecture* family : architectures()) {
    const ModelConfig c = config_of(family->name);
    EXPECT_EQ(shape_of(c, "model.embed_tokens.weight"), (Shape{331, 72}));
    EXPECT_EQ(shape_of(c, "model.norm.weight"), Shape{72});
    EXPECT_EQ(shape_of(c, "lm_head.weight"), (Shape{331, 72}));
    for (const std::string l : {"model.layers.0.", "model.layers.1."}) {
      EXPECT_EQ(shape_of(c, l + "input_layernorm.weight"), Shape{72});
      EXPECT_EQ(shape_of(c, l + "self_attn.q_proj.weight"), (Shape{96, 72}));
      EXPECT_EQ(shape_of(c, l + "self_attn.k_proj.weight"), (Shape{32, 72}));
      EXPECT_EQ(shape_of(c, l + "self_attn.v_proj.weight"), (Shape{32, 72}));
      EXPECT_EQ(shape_of(c, l + "self_attn.o_proj.weight"), (Shape{72, 96}));
      EXPECT_EQ(shape_of(c, l + "post_attention_layernorm.weight"), Shape{72});
      EXPECT_EQ(shape_of(c, l + "mlp.gate_proj.weight"), (Shape{203, 72}));
      EXPECT_EQ(shape_of(c, l + "mlp.up_proj.weight"), (Shape{203, 72}));
      EXPECT_EQ(shape_of(c, l + "mlp.down_proj.weight"), (Shape{72, 203}));
      const bool normed = std::string(family->name) == "qwen3";
      EXPECT_EQ(shape_of(c, l + "self_attn.q_norm.weight"), normed ? Shape{16} : Shape{});
      EXPECT_EQ(shape_of(c, l + "self_attn.k_norm.weight"), normed ? Shape{16} : Shape{});
    }
    EXPECT_EQ(shape_of(c, "model.layers.2.input_layernorm.weight"), Shape{});
    ModelConfig tied = c;
    tied.tied_embeddings = true;
    EXPECT_EQ(shape_of(tied, "lm_head.weight"), Shape{});
  }
}

TEST(Architecture, BiasesAreThoseOfTheFamily) {
  const auto biased = [](const std::string& architecture, bool flags) {
    ModelConfig c = config_of(architecture);
    c.attention_bias = c.mlp_bias = flags;
    std::string out;
    for (const TableTensor& each : needed_tensors(c)) {
      const std::size_t at = each.name.find("layers.1.");
      if (each.is_bias && at != std::string::npos) {
        out += each.name.substr(each.name.find_last_of('.', each.name.size() - 6) + 1) + ":" +
               std::to_string(each.shape.front()) + " ";
      }
    }
    return out;
  };
  const std::string qkv = "q_proj.bias:96 k_proj.bias:32 v_proj.bias:32 ";
  EXPECT_EQ(biased("llama", false), "");
  EXPECT_EQ(biased("llama", true),
            qkv + "o_proj.bias:72 gate_proj.bias:203 up_proj.bias:203 down_proj.bias:72 ");
  EXPECT_EQ(biased("mistral", true), "");
  EXPECT_EQ(biased("qwen2", false), qkv);
  EXPECT_EQ(biased("qwen2", true), qkv);
  EXPECT_EQ(biased("qwen3", false), "");
  EXPECT_EQ(biased("qwen3", true), qkv + "o_proj.bias:72 ");
}

TEST(Architecture, PlansSayWhatALayerDoes) {
  ModelConfig c = config_of("qwen2");
  c.slides = {false, true};
  EXPECT_EQ(architecture_of(c).plan(c, 0), (LayerPlan{0, false}));
  EXPECT_EQ(architecture_of(c).plan(c, 1), (LayerPlan{37, false}));
  c.architecture = "qwen3";
  EXPECT_EQ(architecture_of(c).plan(c, 0), (LayerPlan{0, true}));
  EXPECT_EQ(architecture_of(c).plan(c, 1), (LayerPlan{37, true}));
  const ModelConfig mistral = config_of("mistral");
  EXPECT_EQ(architecture_of(mistral).plan(mistral, 1), (LayerPlan{37, false}));
  const ModelConfig llama = config_of("llama");
  EXPECT_EQ(architecture_of(llama).plan(llama, 1), LayerPlan{});
}

/// The values of a vector of one rank, from a CPU backend in fp32.
std::vector<float> values_of(const DeviceMemory& memory, std::int64_t count) {
  const auto* begin = static_cast<const float*>(memory.get());
  return {begin, begin + count};
}

std::vector<float> part_of(const LoadedModel& model, const std::string& name, Span part) {
  std::vector<float> out(std::size_t(part.size()));
  model.weights.find(name)->read_row(0, part.begin, part.end, out);
  return out;
}

/// Every member that the table names is filled with the rank's part, biases and head norms too.
TEST(Architecture, RanksCutBiasesAndKeepHeadNormsWhole) {
  auto backend = make_backend({}, mode_of(Precision::fp32));
  ASSERT_TRUE(backend.has_value());
  for (const Architecture* family : architectures()) {
    const LoadedModel model = fakes::toy_model(config_of(family->name));
    const ModelConfig& c = model.config;
    for (const int ranks : {1, 2, 4, 8}) {
      for (int rank = 0; rank < ranks; ++rank) {
        SCOPED_TRACE(::testing::Message() << family->name << " rank " << rank << " of " << ranks);
        const auto built = build_rank_model(model, **backend, **backend, rank, ranks, {8, {}});
        const Partition& p = built->partition;
        const std::int64_t d = c.head_dim;
        const Span q{p.heads.begin * d, p.heads.end * d};
        const Span kv{p.kv_heads.begin * d, p.kv_heads.end * d};
        const Span whole{0, c.hidden_size};
        const std::string l = "model.layers.1.";
        const LayerWeights& w = built->layers[1];
        const auto expect_linear = [&](const LinearWeights& linear, const std::string& name,
                                       Span outputs, Span inputs) {
          EXPECT_EQ(linear.matrix->outputs, outputs.size()) << name;
          EXPECT_EQ(linear.matrix->inputs, inputs.size()) << name;
          const bool biased = model.weights.find(l + name + ".bias") != nullptr;
          ASSERT_EQ(linear.bias.get() != nullptr, biased) << name;
          if (!biased) return;
          EXPECT_EQ(values_of(linear.bias, outputs.size()),
                    part_of(model, l + name + ".bias", outputs))
              << name;
        };
        expect_linear(w.q, "self_attn.q_proj", q, whole);
        expect_linear(w.k, "self_attn.k_proj", kv, whole);
        expect_linear(w.v, "self_attn.v_proj", kv, whole);
        expect_linear(w.o, "self_attn.o_proj", whole, p.attention_columns);
        expect_linear(w.gate, "mlp.gate_proj", p.mlp_columns, whole);
        expect_linear(w.up, "mlp.up_proj", p.mlp_columns, whole);
        expect_linear(w.down, "mlp.down_proj", whole, p.mlp_columns);
        EXPECT_EQ(built->head.matrix->outputs, p.vocabulary.size());
        EXPECT_EQ(values_of(w.norm2, 72),
                  part_of(model, l + "post_attention_layernorm.weight", whole));
        ASSERT_EQ(w.q_norm.get() != nullptr, w.plan.qk_norm);
        if (!w.plan.qk_norm) continue;
        EXPECT_EQ(values_of(w.q_norm, d), part_of(model, l + "self_attn.q_norm.weight", {0, d}));
        EXPECT_EQ(values_of(w.k_norm, d), part_of(model, l + "self_attn.k_norm.weight", {0, d}));
      }
    }
  }
}

Weights without(const LoadedModel& model, const std::string& name) {
  Weights out;
  for (const auto& [each, tensor] : model.weights.all()) {
    if (each != name) out.add(tensor);
  }
  return out;
}

TEST(CheckTensors, EveryTensorOfEveryFamilyIsNeededByName) {
  for (const Architecture* family : architectures()) {
    const LoadedModel model = fakes::toy_model(config_of(family->name));
    EXPECT_EQ(error_of(check_tensors(model.config, Biases::flagged, model.weights, "m")),
              "no error");
    for (const TableTensor& each : needed_tensors(model.config)) {
      const Weights weights = without(model, each.name);
      const std::string flagged =
          error_of(check_tensors(model.config, Biases::flagged, weights, "m"));
      EXPECT_EQ(flagged.rfind("m: tensor \"" + each.name + "\" of shape [", 0), 0u) << flagged;
      const std::string stored =
          error_of(check_tensors(model.config, Biases::stored, weights, "m"));
      EXPECT_EQ(stored, each.is_bias ? "no error" : flagged);
    }
  }
}

TEST(CheckTensors, EveryShapeIsChecked) {
  for (const Architecture* family : architectures()) {
    const LoadedModel model = fakes::toy_model(config_of(family->name));
    for (const TableTensor& each : needed_tensors(model.config)) {
      Weights weights = without(model, each.name);
      Tensor wrong = *model.weights.find(each.name);
      wrong.shape.back() += 1;
      weights.add(wrong);
      for (const Biases biases : {Biases::flagged, Biases::stored}) {
        const std::string text = error_of(check_tensors(model.config, biases, weights, "m"));
        EXPECT_EQ(text.rfind("m: tensor \"" + each.name + "\" has shape [", 0), 0u) << text;
      }
    }
  }
}

TEST(CheckTensors, WhatNothingReadsIsRefusedByName) {
  const auto with = [](const std::string& architecture, const std::string& name) {
    ModelConfig config = config_of(architecture);
    config.attention_bias = config.mlp_bias = false;
    LoadedModel model = fakes::toy_model(config);
    Tensor extra = *model.weights.find("model.norm.weight");
    extra.name = name;
    model.weights.add(extra);
    return error_of(check_tensors(config, Biases::flagged, model.weights, "m"));
  };
  const std::string l = "model.layers.1.";
  const std::string read = "\" is read by no operation: ";
  EXPECT_EQ(with("llama", l + "self_attn.o_proj.bias"),
            "m: tensor \"" + l + "self_attn.o_proj.bias" + read +
                "attention_bias is not true in the config");
  EXPECT_EQ(with("llama", l + "mlp.up_proj.bias"),
            "m: tensor \"" + l + "mlp.up_proj.bias" + read + "mlp_bias is not true in the config");
  EXPECT_EQ(with("qwen2", l + "self_attn.o_proj.bias"),
            "m: tensor \"" + l + "self_attn.o_proj.bias" + read +
                "architecture qwen2 with 2 layers has no such tensor");
  EXPECT_EQ(with("llama", l + "self_attn.q_norm.weight"),
            "m: tensor \"" + l + "self_attn.q_norm.weight" + read +
                "architecture llama with 2 layers has no such tensor");
  EXPECT_EQ(with("qwen3", "model.layers.2.input_layernorm.weight"),
            "m: tensor \"model.layers.2.input_layernorm.weight" + read +
                "architecture qwen3 with 2 layers has no such tensor");
  EXPECT_NE(with("llama", "rope_freqs.weight"), "no error");
  EXPECT_EQ(with("llama", l + "self_attn.rotary_emb.inv_freq"), "no error");
  EXPECT_EQ(with("qwen3", "model.rotary_emb.inv_freq"), "no error");
  EXPECT_NE(with("llama", "inv_freq"), "no error");
}

}  // namespace
}  // namespace isobit
