// Qwen2 and Qwen2.5: q, k and v always have biases, nothing else has; later layers may slide.
#include "runtime/model/arch/architecture.h"

namespace isobit {
namespace {

using enum Dimension;
using enum When;

constexpr bool kRotated = true;

// Hugging Face, GGUF, outputs, inputs, fills, weight, bias
constexpr TensorRow kLayer[] = {
    {"input_layernorm", "attn_norm", one, hidden, &LayerWeights::norm1},
    {"self_attn.q_proj", "attn_q", query, hidden, &LayerWeights::q, always, always, kRotated},
    {"self_attn.k_proj", "attn_k", key_value, hidden, &LayerWeights::k, always, always, kRotated},
    {"self_attn.v_proj", "attn_v", key_value, hidden, &LayerWeights::v, always, always},
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
  read_kv_heads(fields, 32, config);
  read_head_dim(fields, config);
  read_late_windows(fields, config);
}

}  // namespace

constinit const Architecture kQwen2{
    .name = "qwen2",
    .class_name = "Qwen2ForCausalLM",
    .gguf = {.architecture = "qwen2", .interleaved = false, .window = false},
    .before = kUsualBefore,
    .layer = kLayer,
    .after = kUsualAfter,
    .context = 32768,
    .plan = plan,
    .read_config = read_config,
};

}  // namespace isobit
