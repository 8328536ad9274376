// Phi-3 and Phi-4-mini: a Llama whose file holds q, k and v as one matrix, gate and up as another.
#include "runtime/model/arch/architecture.h"

namespace isobit {
namespace {

using enum Dimension;
using enum When;

// Hugging Face, GGUF, outputs, inputs, fills, weight, bias
constexpr TensorRow kLayer[] = {
    {"input_layernorm", "attn_norm", one, hidden, &LayerWeights::norm1},
    {"self_attn.q_proj", "", query, hidden, &LayerWeights::q},
    {"self_attn.k_proj", "", key_value, hidden, &LayerWeights::k},
    {"self_attn.v_proj", "", key_value, hidden, &LayerWeights::v},
    {"self_attn.o_proj", "attn_output", hidden, attention, &LayerWeights::o},
    {"post_attention_layernorm", "ffn_norm", one, hidden, &LayerWeights::norm2},
    {"mlp.gate_proj", "", mlp, hidden, &LayerWeights::gate},
    {"mlp.up_proj", "", mlp, hidden, &LayerWeights::up},
    {"mlp.down_proj", "ffn_down", hidden, mlp, &LayerWeights::down},
};
constexpr const char* kQkv[] = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"};
constexpr const char* kGateUp[] = {"mlp.gate_proj", "mlp.up_proj"};
constexpr FusedRow kFused[] = {
    {"self_attn.qkv_proj", "attn_qkv", kQkv},
    {"mlp.gate_up_proj", "ffn_up", kGateUp},
};

LayerPlan plan(const ModelConfig& config, std::int64_t layer) {
  return {.window = config.window(layer)};
}

void read_config(ConfigFields& fields, ModelConfig& config) {
  read_kv_heads(fields, config.heads, config);
  config.rms_norm_eps = fields.number_or("rms_norm_eps", 1e-5);
  read_head_dim(fields, config);
  config.sliding_window = read_window(fields, 0);
  require_uniform_layers(fields, config);
}

}  // namespace

constinit const Architecture kPhi3{
    .name = "phi3",
    .class_name = "Phi3ForCausalLM",
    .gguf = {.architecture = "phi3", .interleaved = false, .window = true},
    .before = kUsualBefore,
    .layer = kLayer,
    .after = kUsualAfter,
    .fused = kFused,
    .context = 4096,
    .rope_words = RopeWords::phi3,
    .plan = plan,
    .read_config = read_config,
};

}  // namespace isobit
