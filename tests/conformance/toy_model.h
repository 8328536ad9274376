// The worked example of NUMERICS.md as a model in memory: numbers anyone can make.
#pragma once

#include <memory>

#include "runtime/numerics/random.h"
#include "runtime/run/generate.h"

namespace isobit::toy {

/// Number of element e of tensor t in [-0.5, 0.5).
inline float number(std::uint64_t t, std::size_t e) {
  const std::uint32_t n = draw24(2026, t, std::uint32_t(e), 7);
  return float(n) * 0x1p-24f - 0.5f;
}

class Builder {
 public:
  LoadedModel build() {
    ModelConfig& c = model_.config;
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
    c.rope_theta = 10000;
    c.tied_embeddings = true;
    add("model.embed_tokens.weight", 100, 64, 4.0f);
    for (int l = 0; l < 2; ++l) {
      const std::string p = "model.layers." + std::to_string(l) + ".";
      norm(p + "input_layernorm.weight");
      add(p + "self_attn.q_proj.weight", 64, 64, 0.5f);
      add(p + "self_attn.k_proj.weight", 32, 64, 0.5f);
      add(p + "self_attn.v_proj.weight", 32, 64, 0.5f);
      add(p + "self_attn.o_proj.weight", 64, 64, 0.5f);
      norm(p + "post_attention_layernorm.weight");
      add(p + "mlp.gate_proj.weight", 100, 64, 0.5f);
      add(p + "mlp.up_proj.weight", 100, 64, 0.5f);
      add(p + "mlp.down_proj.weight", 64, 100, 0.5f);
    }
    norm("model.norm.weight");
    return std::move(model_);
  }

 private:
  void norm(const std::string& name) { store(name, 1, 64, 0.5f, 1.0f); }
  void add(const std::string& name, std::int64_t rows, std::int64_t cols, float scale) {
    store(name, rows, cols, scale, 0.0f);
  }
  void store(const std::string& name, std::int64_t rows, std::int64_t cols, float scale,
             float base) {
    auto values = std::make_shared<std::vector<float>>();
    for (std::size_t e = 0; e < std::size_t(rows * cols); ++e) {
      const float x = number(tensor_, e) * scale;
      values->push_back(base == 0.0f ? x : base + x);
    }
    ++tensor_;
    Tensor tensor;
    tensor.name = name;
    tensor.type = TensorType::f32;
    tensor.rows = rows;
    tensor.cols = cols;
    if (rows > 1) tensor.shape.push_back(rows);
    tensor.shape.push_back(cols);
    tensor.bytes = std::as_bytes(std::span(*values));
    model_.weights.add(std::move(tensor));
    model_.weights.keep(values);
  }

  LoadedModel model_;
  std::uint64_t tensor_ = 0;
};

inline std::vector<std::int32_t> prompt(int length) {
  std::vector<std::int32_t> tokens;
  for (int i = 0; i < length; ++i) tokens.push_back((37 * i + 11) % 100);
  return tokens;
}

}  // namespace isobit::toy
