// Implementation of runtime/checkpoint/load_check.h.
#include "runtime/checkpoint/load_check.h"

#include "runtime/checkpoint/json.h"

namespace isobit {
namespace {

std::string shown_shape(const std::vector<std::int64_t>& shape) {
  std::string text = "[";
  for (const std::int64_t size : shape) {
    if (text.size() > 1) text += ", ";
    text += std::to_string(size);
  }
  return text + "]";
}

void add_layer(const ModelConfig& c, std::int64_t layer, std::vector<NeededTensor>& out) {
  const std::string prefix = "model.layers." + std::to_string(layer) + ".";
  const std::int64_t q = c.heads * c.head_dim;
  const std::int64_t kv = c.kv_heads * c.head_dim;
  const auto linear = [&](const char* name, std::int64_t rows, std::int64_t cols, bool bias) {
    out.push_back({prefix + name + ".weight", {rows, cols}});
    if (bias) out.push_back({prefix + name + ".bias", {rows}});
  };
  out.push_back({prefix + "input_layernorm.weight", {c.hidden_size}});
  linear("self_attn.q_proj", q, c.hidden_size, c.attention_bias);
  linear("self_attn.k_proj", kv, c.hidden_size, c.attention_bias);
  linear("self_attn.v_proj", kv, c.hidden_size, c.attention_bias);
  linear("self_attn.o_proj", c.hidden_size, q, c.attention_bias);
  out.push_back({prefix + "post_attention_layernorm.weight", {c.hidden_size}});
  linear("mlp.gate_proj", c.intermediate_size, c.hidden_size, c.mlp_bias);
  linear("mlp.up_proj", c.intermediate_size, c.hidden_size, c.mlp_bias);
  linear("mlp.down_proj", c.hidden_size, c.intermediate_size, c.mlp_bias);
}

}  // namespace

std::vector<NeededTensor> needed_tensors(const ModelConfig& config) {
  std::vector<NeededTensor> out;
  out.push_back({"model.embed_tokens.weight", {config.vocab_size, config.hidden_size}});
  for (std::int64_t layer = 0; layer < config.layers; ++layer) add_layer(config, layer, out);
  out.push_back({"model.norm.weight", {config.hidden_size}});
  if (!config.tied_embeddings) {
    out.push_back({"lm_head.weight", {config.vocab_size, config.hidden_size}});
  }
  return out;
}

Result<void> check_tensors(const ModelConfig& config, const Weights& weights,
                           const std::string& place) {
  for (const NeededTensor& needed : needed_tensors(config)) {
    const Tensor* tensor = weights.find(needed.name);
    if (tensor == nullptr) {
      return Error{
          "tensor " + shown(needed.name) + " of shape " + shown_shape(needed.shape) + " is missing",
          place};
    }
    if (tensor->shape != needed.shape) {
      return Error{"tensor " + shown(needed.name) + " has shape " + shown_shape(tensor->shape) +
                       " but the config needs " + shown_shape(needed.shape),
                   place};
    }
  }
  return {};
}

}  // namespace isobit
