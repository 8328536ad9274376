// Mistral 7B and its relatives: Llama without biases, sliding over a window. llama.cpp writes them
// as Llamas.
#include "runtime/model/arch/architecture.h"

namespace isobit {
namespace {

using enum Dimension;
using enum When;

constexpr bool kRotated = true;

// Hugging Face, GGUF, outputs, inputs, fills, weight, bias
constexpr TensorRow kLayer[] = {
    {"input_layernorm", "attn_norm", one, hidden, &LayerWeights::norm1},
    {"self_attn.q_proj", "attn_q", query, hidden, &LayerWeights::q, always, never, kRotated},
    {"self_attn.k_proj", "attn_k", key_value, hidden, &LayerWeights::k, always, never, kRotated},
    {"self_attn.v_proj", "attn_v", key_value, hidden, &LayerWeights::v},
    {"self_attn.o_proj", "attn_output", hidden, attention, &LayerWeights::o},
    {"post_attention_layernorm", "ffn_norm", one, hidden, &LayerWeights::norm2},
    {"mlp.gate_proj", "ffn_gate", mlp, hidden, &LayerWeights::gate},
    {"mlp.up_proj", "ffn_up", mlp, hidden, &LayerWeights::up},
    {"mlp.down_proj", "ffn_down", hidden, mlp, &LayerWeights::down},
};

LayerPlan plan(const ModelConfig& config, std::int64_t layer) {
  return {.window = config.window(layer)};
}

void read_config(ConfigFields& fields, ModelConfig& config) {
  if (!fields.has("num_key_value_heads")) fields.require("num_key_value_heads");
  read_kv_heads(fields, config.heads, config);
  for (const char* flag : {"attention_bias", "mlp_bias"}) {
    if (fields.boolean_or(flag, false)) fields.fail(flag, "is not part of Mistral");
  }
  read_head_dim(fields, config);
  // transformers slides over 4096 positions unless told otherwise; null: not at all.
  config.sliding_window = read_window(fields, 4096);
  require_uniform_layers(fields, config);
}

}  // namespace

constinit const Architecture kMistral{
    .name = "mistral",
    .class_name = "MistralForCausalLM",
    .gguf = {.architecture = nullptr, .interleaved = true, .window = true},
    .before = kUsualBefore,
    .layer = kLayer,
    .after = kUsualAfter,
    .context = 131072,
    .plan = plan,
    .read_config = read_config,
};

}  // namespace isobit
