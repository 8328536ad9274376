// Qwen3 (dense): every head of q and k is normalised before RoPE, head_dim is a number of its own.
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
    {"self_attn.q_norm", "attn_q_norm", one, head, &LayerWeights::q_norm},
    {"self_attn.k_norm", "attn_k_norm", one, head, &LayerWeights::k_norm},
    {"self_attn.v_proj", "attn_v", key_value, hidden, &LayerWeights::v, always, attention_bias},
    {"self_attn.o_proj", "attn_output", hidden, attention, &LayerWeights::o, always,
     attention_bias},
    {"post_attention_layernorm", "ffn_norm", one, hidden, &LayerWeights::norm2},
    {"mlp.gate_proj", "ffn_gate", mlp, hidden, &LayerWeights::gate},
    {"mlp.up_proj", "ffn_up", mlp, hidden, &LayerWeights::up},
    {"mlp.down_proj", "ffn_down", hidden, mlp, &LayerWeights::down},
};

LayerPlan plan(const ModelConfig& config, std::int64_t layer) {
  return {.window = config.window(layer), .qk_norm = QkNorm::head};
}

void read_config(ConfigFields& fields, ModelConfig& config) {
  read_kv_heads(fields, 32, config);
  config.head_dim = fields.integer_or("head_dim", 128);
  config.attention_bias = fields.boolean_or("attention_bias", false);
  read_late_windows(fields, config);
}

}  // namespace

constinit const Architecture kQwen3{
    .name = "qwen3",
    .class_name = "Qwen3ForCausalLM",
    .gguf = {.architecture = "qwen3", .interleaved = false, .window = false},
    .before = kUsualBefore,
    .layer = kLayer,
    .after = kUsualAfter,
    .context = 32768,
    .plan = plan,
    .read_config = read_config,
};

}  // namespace isobit
