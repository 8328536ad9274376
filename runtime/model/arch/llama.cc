// Llama 1 to 3, SmolLM, TinyLlama; Mistral under the name that llama.cpp gives it.
#include "runtime/model/arch/architecture.h"

namespace isobit {
namespace {

using enum Dimension;
using enum When;

constexpr bool kRotated = true;

// Hugging Face, GGUF, outputs, inputs, fills, weight, bias
constexpr TensorRow kLayer[] = {
    {"input_layernorm", "attn_norm", one, hidden, &LayerWeights::norm1},
    {"self_attn.q_proj", "attn_q", query, hidden, &LayerWeights::q, always, attention_bias,
     kRotated},
    {"self_attn.k_proj", "attn_k", key_value, hidden, &LayerWeights::k, always, attention_bias,
     kRotated},
    {"self_attn.v_proj", "attn_v", key_value, hidden, &LayerWeights::v, always, attention_bias},
    {"self_attn.o_proj", "attn_output", hidden, attention, &LayerWeights::o, always,
     attention_bias},
    {"post_attention_layernorm", "ffn_norm", one, hidden, &LayerWeights::norm2},
    {"mlp.gate_proj", "ffn_gate", mlp, hidden, &LayerWeights::gate, always, mlp_bias},
    {"mlp.up_proj", "ffn_up", mlp, hidden, &LayerWeights::up, always, mlp_bias},
    {"mlp.down_proj", "ffn_down", hidden, mlp, &LayerWeights::down, always, mlp_bias},
};

LayerPlan plan(const ModelConfig& config, std::int64_t layer) {
  return {.window = config.window(layer)};  // of a GGUF; config.json has none
}

void read_config(ConfigFields& fields, ModelConfig& config) {
  read_kv_heads(fields, config.heads, config);
  config.attention_bias = fields.boolean_or("attention_bias", false);
  config.mlp_bias = fields.boolean_or("mlp_bias", false);
  read_head_dim(fields, config);
  if (fields.integer_or("sliding_window", 0) != 0) {
    fields.fail("sliding_window",
                "has no effect on a Llama in transformers; use null, or "
                "architecture MistralForCausalLM");
  }
  require_uniform_layers(fields, config);
}

}  // namespace

constinit const Architecture kLlama{
    .name = "llama",
    .class_name = "LlamaForCausalLM",
    .gguf = {.architecture = "llama", .interleaved = true, .window = true},
    .before = kUsualBefore,
    .layer = kLayer,
    .after = kUsualAfter,
    .plan = plan,
    .read_config = read_config,
};

}  // namespace isobit
