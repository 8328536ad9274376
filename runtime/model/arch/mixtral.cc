// Mixtral: Mistral with a few of many experts instead of one MLP. llama.cpp writes it as a Llama.
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
    {"block_sparse_moe.gate", "ffn_gate_inp", experts, hidden, &LayerWeights::router, routed},
};
constexpr TensorRow kExpert[] = {
    {"w1", "ffn_gate_exps", expert, hidden, &ExpertWeights::gate, routed},
    {"w3", "ffn_up_exps", expert, hidden, &ExpertWeights::up, routed},
    {"w2", "ffn_down_exps", hidden, expert, &ExpertWeights::down, routed},
};
constexpr const char* kReads[] = {"num_local_experts"};
constexpr const char* kGgufReads[] = {"expert_count", "expert_used_count"};

LayerPlan plan(const ModelConfig& config, std::int64_t layer) {
  return {.window = config.window(layer), .routed = config.is_routed(layer)};
}

void read_config(ConfigFields& fields, ModelConfig& config) {
  read_kv_heads(fields, 8, config);
  config.ropes.front().base = 1e6;
  read_head_dim(fields, config);
  config.rms_norm_eps = fields.number_or("rms_norm_eps", 1e-5);
  config.sliding_window = read_window(fields, 0);
  require_uniform_layers(fields, config);
  config.experts = fields.integer_or("num_local_experts", 8);
  config.experts_used = fields.integer_or("num_experts_per_tok", 2);
  config.expert_size = config.intermediate_size;
}

}  // namespace

constinit const Architecture kMixtral{
    .name = "mixtral",
    .class_name = "MixtralForCausalLM",
    .gguf = {.architecture = nullptr, .interleaved = true, .window = true, .reads = kGgufReads},
    .before = kUsualBefore,
    .layer = kLayer,
    .after = kUsualAfter,
    .experts = {"block_sparse_moe.experts.", kExpert},
    .context = 131072,
    .plan = plan,
    .reads = kReads,
    .read_config = read_config,
};

}  // namespace isobit
