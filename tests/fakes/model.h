// The one builder of toy models: any family of the architecture table, in memory or as files.
//
// Element e of tensor t is ((n * 2^-24) - 0.5) * scale (+ 1 in a norm), n of stream 7 of the
// counter generator, tensors numbered in the order of the table: NUMERICS.md's worked example is
// such a model, and anyone can make the numbers. Header only, for tests and benchmarks.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "runtime/checkpoint/weights.h"
#include "runtime/model/arch/architecture.h"
#include "runtime/numerics/random.h"

namespace isobit::fakes {

/// Values of tensor t of a model.
inline std::shared_ptr<std::vector<float>> toy_values(std::uint64_t t, std::size_t count,
                                                      float scale, float base) {
  auto values = std::make_shared<std::vector<float>>(count);
  for (std::size_t e = 0; e < count; ++e) {
    const float x = (float(draw24(2026, t, std::uint32_t(e), 7)) * 0x1p-24f - 0.5f) * scale;
    (*values)[e] = base == 0.0f ? x : base + x;
  }
  return values;
}

/// A model of this config, every tensor that belongs to it in fp32. REQUIRES: a valid config.
inline LoadedModel toy_model(const ModelConfig& config) {
  const Result<void> valid = config.validate();
  ISOBIT_CHECK(valid.has_value());
  LoadedModel model;
  model.config = config;
  const std::string embedding = weight_that_fills(architecture_of(config), &RankModel::embedding);
  std::uint64_t number = 0;
  for (const TableTensor& each : needed_tensors(config)) {
    Tensor tensor = tensor_of(each, TensorType::f32);
    const auto values =
        toy_values(number++, std::size_t(tensor.rows * tensor.cols),
                   each.name == embedding ? 4.0f : 0.5f, each.is_norm ? 1.0f : 0.0f);
    tensor.bytes = std::as_bytes(std::span(*values));
    model.weights.add(std::move(tensor));
    model.weights.keep(values);
  }
  return model;
}

/// The config of NUMERICS.md's worked example.
inline ModelConfig worked_example() {
  ModelConfig c;
  c.architecture = "llama";
  c.name = "worked-example";
  c.vocab_size = 100;
  c.hidden_size = 64;
  c.intermediate_size = 100;
  c.layers = 2;
  c.heads = 4;
  c.kv_heads = 2;
  c.head_dim = 16;
  c.context = 1024;
  c.rms_norm_eps = 1e-5;
  c.ropes.front().base = 10000;
  c.tied_embeddings = true;
  return c;
}

/// The same tensors cut into two heads of 32 channels, for cache policies that code 32 at a time.
inline ModelConfig worked_example_of_policies() {
  ModelConfig c = worked_example();
  c.heads = 2;
  c.kv_heads = 1;
  c.head_dim = 32;
  return c;
}

/// Whether the layers of odd_config() have a window.
inline bool slides_in(const std::string& architecture) {
  return architecture != "llama" && architecture != "gpt2";
}

/// A model of a family in which every number is odd for it: heads that no number of ranks divides,
/// a head_dim times heads that is not the width, a window that most layers have where the family
/// has one, all the biases that the family knows, lm_head not tied.
inline ModelConfig odd_config(const std::string& architecture) {
  ModelConfig c;
  c.architecture = architecture;
  c.vocab_size = 331;
  c.hidden_size = 72;
  c.intermediate_size = 203;
  c.layers = 3;
  c.heads = 9;
  c.kv_heads = 3;
  c.head_dim = 24;
  c.context = 2048;
  if (slides_in(architecture)) c.sliding_window = 37;
  if (slides_in(architecture) && architecture != "mistral") c.slides = {false, true, true};
  if (architecture == "gemma2") c.attention_softcap = 0.75, c.logit_softcap = 2.5;
  if (architecture == "gemma2" || architecture == "gemma3_text") c.query_scale = 11;
  if (architecture == "gemma3_text") {  // the layers that slide have a RoPE of their own
    c.ropes.resize(2);
    c.ropes[0].base = 3000;
    c.ropes[0].scaling = {.kind = RopeScaling::Kind::linear, .factor = 3};
  }
  if (architecture == "smollm3") c.rotating = {true, false, true};
  if (!architecture_of(c).experts.rows.empty()) c.experts = 5, c.experts_used = 2;
  if (architecture == "mixtral") c.expert_size = c.intermediate_size;
  if (architecture == "qwen3_moe") {
    c.expert_size = 83;
    c.experts_sum_to_one = false;
    c.routed = {true, false, true};
  }
  c.attention_bias = c.mlp_bias = true;
  return c;
}

inline std::vector<std::int32_t> prompt(int length) {
  std::vector<std::int32_t> tokens;
  for (int i = 0; i < length; ++i) tokens.push_back((37 * i + 11) % 100);
  return tokens;
}

}  // namespace isobit::fakes
