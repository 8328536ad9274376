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
  c.rotating.clear();
  c.routed.clear();
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
  EXPECT_EQ(find_architecture("gpt3"), nullptr);
  EXPECT_EQ(find_architecture(""), nullptr);
  EXPECT_EQ(find_architecture_of_gguf("mistral"), nullptr);  // llama.cpp writes it as a Llama
  EXPECT_EQ(architecture_names([](const Architecture& a) { return a.name; }),
            "llama, mistral, mixtral, qwen2, qwen3, qwen3_moe, gemma2, gemma3_text, phi3, olmo2, "
            "gpt2, smollm3");
  EXPECT_EQ(architecture_names([](const Architecture& a) { return a.gguf.architecture; }),
            "llama, qwen2, qwen3, qwen3moe, gemma2, gemma3, phi3, olmo2, gpt2, smollm3");
}

/// Families that are Llama but for norms, biases, windows and experts.
TEST(Architecture, ShapesAreThoseOfTheConfig) {
  for (const char* family : {"llama", "mistral", "mixtral", "qwen2", "qwen3", "qwen3_moe", "gemma2",
                             "gemma3_text", "phi3", "olmo2", "smollm3"}) {
    SCOPED_TRACE(family);
    const ModelConfig c = config_of(family);
    EXPECT_EQ(shape_of(c, "model.embed_tokens.weight"), (Shape{331, 72}));
    EXPECT_EQ(shape_of(c, "model.norm.weight"), Shape{72});
    EXPECT_EQ(shape_of(c, "lm_head.weight"), (Shape{331, 72}));
    for (const std::string l : {"model.layers.0.", "model.layers.1."}) {
      EXPECT_EQ(shape_of(c, l + "self_attn.q_proj.weight"), (Shape{96, 72}));
      EXPECT_EQ(shape_of(c, l + "self_attn.k_proj.weight"), (Shape{32, 72}));
      EXPECT_EQ(shape_of(c, l + "self_attn.v_proj.weight"), (Shape{32, 72}));
      EXPECT_EQ(shape_of(c, l + "self_attn.o_proj.weight"), (Shape{72, 96}));
      EXPECT_EQ(shape_of(c, l + "post_attention_layernorm.weight"), Shape{72});
      const bool routed = c.experts > 0;
      EXPECT_EQ(shape_of(c, l + "mlp.gate_proj.weight"), routed ? Shape{} : (Shape{203, 72}));
      EXPECT_EQ(shape_of(c, l + "mlp.up_proj.weight"), routed ? Shape{} : (Shape{203, 72}));
      EXPECT_EQ(shape_of(c, l + "mlp.down_proj.weight"), routed ? Shape{} : (Shape{72, 203}));
    }
    EXPECT_EQ(shape_of(c, "model.layers.2.self_attn.o_proj.weight"), Shape{});
    ModelConfig tied = c;
    tied.tied_embeddings = true;
    EXPECT_EQ(shape_of(tied, "lm_head.weight"), Shape{});
  }
}

/// Every norm of a layer, by family.
TEST(Architecture, NormsAreThoseOfTheFamily) {
  const auto norms = [](const std::string& family) {
    std::string out;
    const ModelConfig c = config_of(family);
    const std::string prefix = layer_prefix(architecture_of(c), 1);
    for (const TableTensor& each : needed_tensors(c)) {
      if (!each.is_norm || each.name.rfind(prefix, 0) != 0) continue;
      out += each.name.substr(prefix.size()) + ":" + std::to_string(each.shape[0]) + " ";
    }
    return out;
  };
  const std::string two = "input_layernorm.weight:72 post_attention_layernorm.weight:72 ";
  const std::string heads = "self_attn.q_norm.weight:16 self_attn.k_norm.weight:16 ";
  const std::string with_heads =
      "input_layernorm.weight:72 " + heads + "post_attention_layernorm.weight:72 ";
  const std::string four =
      "pre_feedforward_layernorm.weight:72 post_feedforward_layernorm.weight:72 ";
  for (const char* family : {"llama", "mistral", "mixtral", "qwen2", "phi3", "smollm3"}) {
    EXPECT_EQ(norms(family), two) << family;
  }
  EXPECT_EQ(norms("qwen3"), with_heads);
  EXPECT_EQ(norms("qwen3_moe"), with_heads);
  EXPECT_EQ(norms("gemma2"), two + four);
  EXPECT_EQ(norms("gemma3_text"), with_heads + four);
  EXPECT_EQ(norms("olmo2"),
            "self_attn.q_norm.weight:96 self_attn.k_norm.weight:32 "
            "post_attention_layernorm.weight:72 post_feedforward_layernorm.weight:72 ");
  EXPECT_EQ(norms("gpt2"), "ln_1.weight:72 ln_2.weight:72 ");
}

TEST(Architecture, ExpertsHaveTensorsOfTheirOwn) {
  ModelConfig c = config_of("qwen3_moe");
  c.routed = {false, true};
  EXPECT_EQ(shape_of(c, "model.layers.1.mlp.gate.weight"), (Shape{5, 72}));
  EXPECT_EQ(shape_of(c, "model.layers.1.mlp.experts.4.gate_proj.weight"), (Shape{83, 72}));
  EXPECT_EQ(shape_of(c, "model.layers.1.mlp.experts.4.down_proj.weight"), (Shape{72, 83}));
  EXPECT_EQ(shape_of(c, "model.layers.1.mlp.experts.5.down_proj.weight"), Shape{});
  EXPECT_EQ(shape_of(c, "model.layers.1.mlp.gate_proj.weight"), Shape{});
  EXPECT_EQ(shape_of(c, "model.layers.0.mlp.gate.weight"), Shape{});
  EXPECT_EQ(shape_of(c, "model.layers.0.mlp.experts.4.gate_proj.weight"), Shape{});
  EXPECT_EQ(shape_of(c, "model.layers.0.mlp.gate_proj.weight"), (Shape{203, 72}));
  const ModelConfig mixtral = config_of("mixtral");
  const std::string expert = "model.layers.1.block_sparse_moe.experts.2.";
  EXPECT_EQ(shape_of(mixtral, "model.layers.1.block_sparse_moe.gate.weight"), (Shape{5, 72}));
  EXPECT_EQ(shape_of(mixtral, expert + "w1.weight"), (Shape{203, 72}));
  EXPECT_EQ(shape_of(mixtral, expert + "w2.weight"), (Shape{72, 203}));
}

TEST(Architecture, Gpt2HasNamesOfItsOwn) {
  ModelConfig c = config_of("gpt2");
  c.context = 50;
  EXPECT_EQ(shape_of(c, "transformer.wte.weight"), (Shape{331, 72}));
  EXPECT_EQ(shape_of(c, "transformer.wpe.weight"), (Shape{50, 72}));
  EXPECT_EQ(shape_of(c, "transformer.ln_f.bias"), Shape{72});
  EXPECT_EQ(shape_of(c, "transformer.h.1.ln_1.bias"), Shape{72});
  EXPECT_EQ(shape_of(c, "transformer.h.1.attn.q.bias"), Shape{96});
  EXPECT_EQ(shape_of(c, "transformer.h.1.mlp.c_fc.weight"), (Shape{203, 72}));
  EXPECT_EQ(shape_of(c, "transformer.h.1.mlp.c_proj.bias"), Shape{72});
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
  EXPECT_EQ(architecture_of(c).plan(c, 0), (LayerPlan{}));
  EXPECT_EQ(architecture_of(c).plan(c, 1), (LayerPlan{.window = 37}));
  c.architecture = "qwen3";
  EXPECT_EQ(architecture_of(c).plan(c, 0), (LayerPlan{.qk_norm = QkNorm::head}));
  EXPECT_EQ(architecture_of(c).plan(c, 1), (LayerPlan{.window = 37, .qk_norm = QkNorm::head}));
  const ModelConfig mistral = config_of("mistral");
  EXPECT_EQ(architecture_of(mistral).plan(mistral, 1), (LayerPlan{.window = 37}));
  ModelConfig gemma = config_of("gemma3_text");
  gemma.slides = {true, false};
  EXPECT_EQ(architecture_of(gemma).plan(gemma, 0), (LayerPlan{.window = 37,
                                                              .qk_norm = QkNorm::head,
                                                              .norms = NormPlace::both,
                                                              .activation = Activation::gelu_tanh,
                                                              .rope = 1}));
  EXPECT_EQ(architecture_of(gemma).plan(gemma, 1).window, 0);
  ModelConfig smol = config_of("smollm3");
  smol.rotating = {false, true};
  EXPECT_EQ(architecture_of(smol).plan(smol, 0).rope, -1);
  EXPECT_EQ(architecture_of(smol).plan(smol, 1).rope, 0);
  const ModelConfig olmo = config_of("olmo2");
  EXPECT_EQ(architecture_of(olmo).plan(olmo, 0).norms, NormPlace::output);
  EXPECT_EQ(architecture_of(olmo).plan(olmo, 0).qk_norm, QkNorm::row);
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

/// What a rank owns of a dimension.
Span part_of(const Partition& p, const ModelConfig& c, Dimension axis) {
  const std::int64_t d = c.head_dim;
  switch (axis) {
    case Dimension::query:
      return {p.heads.begin * d, p.heads.end * d};
    case Dimension::key_value:
      return {p.kv_heads.begin * d, p.kv_heads.end * d};
    case Dimension::attention:
      return p.attention_columns;
    case Dimension::mlp:
      return p.mlp_columns;
    case Dimension::expert:
      return p.expert_columns;
    default:
      return {0, extent(axis, c)};
  }
}

void expect_part(const LoadedModel& model, const LinearWeights& linear, const std::string& name,
                 Span outputs, Span inputs) {
  EXPECT_EQ(linear.matrix->outputs, outputs.size()) << name;
  EXPECT_EQ(linear.matrix->inputs, inputs.size()) << name;
  const bool biased = model.weights.find(name + ".bias") != nullptr;
  ASSERT_EQ(linear.bias.get() != nullptr, biased) << name;
  if (!biased) return;
  EXPECT_EQ(values_of(linear.bias, outputs.size()), part_of(model, name + ".bias", outputs))
      << name;
}

/// Every member that the table names is filled with the rank's part.
TEST(Architecture, RanksCutMatricesAndBiasesAndKeepNormsWhole) {
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
        const std::string l = layer_prefix(*family, 1);
        const LayerWeights& w = built->layers[1];
        EXPECT_EQ(built->head.matrix->outputs, p.vocabulary.size());
        for (const TensorRow& row : family->layer) {
          if (model.weights.find(l + row.name + ".weight") == nullptr) continue;
          if (const auto* norm = std::get_if<NormWeights LayerWeights::*>(&row.fills)) {
            std::vector<float> weight =
                part_of(model, l + row.name + ".weight", {0, extent(row.inputs, c)});
            for (float& x : weight) x += family->norms_add_one ? 1.0F : 0.0F;
            EXPECT_EQ(values_of((w.**norm).weight, std::int64_t(weight.size())), weight);
            EXPECT_EQ((w.**norm).bias.get() != nullptr, family->norm == NormKind::layer);
          } else if (const auto* linear = std::get_if<LinearWeights LayerWeights::*>(&row.fills)) {
            expect_part(model, w.**linear, l + row.name, part_of(p, c, row.outputs),
                        part_of(p, c, row.inputs));
          }
        }
        for (std::size_t e = 0; e < w.experts.size(); ++e) {
          for (const TensorRow& row : family->experts.rows) {
            const auto member = std::get<LinearWeights ExpertWeights::*>(row.fills);
            expect_part(model, w.experts[e].*member,
                        expert_prefix(*family, 1, std::int64_t(e)) + row.name,
                        part_of(p, c, row.outputs), part_of(p, c, row.inputs));
          }
        }
        EXPECT_EQ(w.experts.size(), std::size_t(w.plan.routed ? c.experts : 0));
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
