// Qwen3 with experts: all layers but those listed choose a few of many.
#include "runtime/checkpoint/gguf_keys.h"
#include "runtime/model/arch/architecture.h"

namespace isobit {
namespace {

using enum Dimension;
using enum When;

// Hugging Face, GGUF, outputs, inputs, fills, weight, bias
constexpr TensorRow kLayer[] = {
    {"input_layernorm", "attn_norm", one, hidden, &LayerWeights::norm1},
    {"self_attn.q_proj", "attn_q", query, hidden, &LayerWeights::q, always, attention_bias},
    {"self_attn.k_proj", "attn_k", key_value, hidden, &LayerWeights::k, always, attention_bias},
    {"self_attn.q_norm", "attn_q_norm", one, head, &LayerWeights::q_norm},
    {"self_attn.k_norm", "attn_k_norm", one, head, &LayerWeights::k_norm},
    {"self_attn.v_proj", "attn_v", key_value, hidden, &LayerWeights::v, always, attention_bias},
    {"self_attn.o_proj", "attn_output", hidden, attention, &LayerWeights::o, always,
     attention_bias},
    {"post_attention_layernorm", "ffn_norm", one, hidden, &LayerWeights::norm2},
    {"mlp.gate_proj", "ffn_gate", mlp, hidden, &LayerWeights::gate, dense},
    {"mlp.up_proj", "ffn_up", mlp, hidden, &LayerWeights::up, dense},
    {"mlp.down_proj", "ffn_down", hidden, mlp, &LayerWeights::down, dense},
    {"mlp.gate", "ffn_gate_inp", experts, hidden, &LayerWeights::router, routed},
};
constexpr TensorRow kExpert[] = {
    {"gate_proj", "ffn_gate_exps", expert, hidden, &ExpertWeights::gate, routed},
    {"up_proj", "ffn_up_exps", expert, hidden, &ExpertWeights::up, routed},
    {"down_proj", "ffn_down_exps", hidden, expert, &ExpertWeights::down, routed},
};
constexpr const char* kReads[] = {"num_local_experts", "num_experts"};
constexpr const char* kGgufReads[] = {"expert_count", "expert_used_count"};

LayerPlan plan(const ModelConfig& config, std::int64_t layer) {
  return {
      .window = config.window(layer), .qk_norm = QkNorm::head, .routed = config.is_routed(layer)};
}

/// Every decoder_sparse_step-th layer is routed, but for those of mlp_only_layers.
void read_routed_layers(ConfigFields& fields, ModelConfig& config) {
  const std::int64_t step = fields.integer_or("decoder_sparse_step", 1);
  if (step < 1) return fields.fail("decoder_sparse_step", "must be at least 1");
  const std::vector<std::int64_t> dense = fields.integers_or("mlp_only_layers", {});
  for (std::int64_t i = 0; i < std::min(config.layers, kMostLayers); ++i) {
    const bool listed = std::find(dense.begin(), dense.end(), i) != dense.end();
    config.routed.push_back(!listed && (i + 1) % step == 0);
  }
}

void read_config(ConfigFields& fields, ModelConfig& config) {
  read_kv_heads(fields, 4, config);
  read_head_dim(fields, config);
  config.attention_bias = fields.boolean_or("attention_bias", false);
  read_used_windows(
      fields, 0, [](std::int64_t) { return true; }, config);
  const std::int64_t all = fields.integer_or("num_local_experts", 128);
  config.experts = fields.integer_or("num_experts", all);
  config.experts_used = fields.integer_or("num_experts_per_tok", 8);
  config.expert_size = fields.integer_or("moe_intermediate_size", 768);
  config.experts_sum_to_one = fields.boolean_or("norm_topk_prob", false);
  if (config.experts > 0) read_routed_layers(fields, config);
}

void read_gguf_keys(GgufKeys& keys, const std::string& prefix, ModelConfig& config) {
  config.expert_size = keys.integer(prefix + "expert_feed_forward_length");
}

}  // namespace

constinit const Architecture kQwen3Moe{
    .name = "qwen3_moe",
    .class_name = "Qwen3MoeForCausalLM",
    .gguf = {.architecture = "qwen3moe",
             .interleaved = false,
             .window = false,
             .reads = kGgufReads,
             .read = read_gguf_keys},
    .before = kUsualBefore,
    .layer = kLayer,
    .after = kUsualAfter,
    .experts = {"mlp.experts.", kExpert},
    .context = 32768,
    .plan = plan,
    .reads = kReads,
    .read_config = read_config,
};

}  // namespace isobit
