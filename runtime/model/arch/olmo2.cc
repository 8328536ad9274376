// OLMo 2: norms of the outputs of attention and MLP instead of their inputs, and of whole rows of q
// and k.
#include "runtime/model/arch/architecture.h"

namespace isobit {
namespace {

using enum Dimension;
using enum When;

// Hugging Face, GGUF, outputs, inputs, fills, weight, bias
constexpr TensorRow kLayer[] = {
    {"self_attn.q_proj", "attn_q", query, hidden, &LayerWeights::q, always, attention_bias},
    {"self_attn.k_proj", "attn_k", key_value, hidden, &LayerWeights::k, always, attention_bias},
    {"self_attn.q_norm", "attn_q_norm", one, query, &LayerWeights::q_norm},
    {"self_attn.k_norm", "attn_k_norm", one, key_value, &LayerWeights::k_norm},
    {"self_attn.v_proj", "attn_v", key_value, hidden, &LayerWeights::v, always, attention_bias},
    {"self_attn.o_proj", "attn_output", hidden, attention, &LayerWeights::o, always,
     attention_bias},
    {"post_attention_layernorm", "post_attention_norm", one, hidden, &LayerWeights::output_norm1},
    {"mlp.gate_proj", "ffn_gate", mlp, hidden, &LayerWeights::gate},
    {"mlp.up_proj", "ffn_up", mlp, hidden, &LayerWeights::up},
    {"mlp.down_proj", "ffn_down", hidden, mlp, &LayerWeights::down},
    {"post_feedforward_layernorm", "post_ffw_norm", one, hidden, &LayerWeights::output_norm2},
};

LayerPlan plan(const ModelConfig& config, std::int64_t layer) {
  return {.window = config.window(layer), .qk_norm = QkNorm::row, .norms = NormPlace::output};
}

void read_config(ConfigFields& fields, ModelConfig& config) {
  read_kv_heads(fields, config.heads, config);
  config.attention_bias = fields.boolean_or("attention_bias", false);
  config.rms_norm_eps = fields.number_or("rms_norm_eps", 1e-5);
  read_head_dim(fields, config);
  require_uniform_layers(fields, config);
}

}  // namespace

constinit const Architecture kOlmo2{
    .name = "olmo2",
    .class_name = "Olmo2ForCausalLM",
    .gguf = {.architecture = "olmo2", .interleaved = false, .window = false},
    .before = kUsualBefore,
    .layer = kLayer,
    .after = kUsualAfter,
    .plan = plan,
    .read_config = read_config,
};

}  // namespace isobit
