// GPT-2: LayerNorm, learned positions, biases everywhere; its file has most matrices transposed.
#include "runtime/checkpoint/gguf_keys.h"
#include "runtime/model/arch/architecture.h"

namespace isobit {
namespace {

using enum Dimension;
using enum When;

// Hugging Face, GGUF, outputs, inputs, fills, weight, bias
constexpr TensorRow kBefore[] = {
    {"transformer.wte", "token_embd", vocabulary, hidden, &RankModel::embedding},
    {"transformer.wpe", "position_embd", position, hidden, &RankModel::position_embedding},
};
constexpr TensorRow kLayer[] = {
    {"ln_1", "attn_norm", one, hidden, &LayerWeights::norm1, always, always},
    {"attn.q", "", query, hidden, &LayerWeights::q, always, always},
    {"attn.k", "", key_value, hidden, &LayerWeights::k, always, always},
    {"attn.v", "", key_value, hidden, &LayerWeights::v, always, always},
    {"attn.c_proj", "attn_output", hidden, attention, &LayerWeights::o, always, always},
    {"ln_2", "ffn_norm", one, hidden, &LayerWeights::norm2, always, always},
    {"mlp.c_fc", "ffn_up", mlp, hidden, &LayerWeights::up, always, always},
    {"mlp.c_proj", "ffn_down", hidden, mlp, &LayerWeights::down, always, always},
};
constexpr TensorRow kAfter[] = {
    {"transformer.ln_f", "output_norm", one, hidden, &RankModel::final_norm, always, always},
    {"lm_head", "output", vocabulary, hidden, &RankModel::head, untied},
};
constexpr const char* kQkv[] = {"attn.q", "attn.k", "attn.v"};
constexpr const char* kOutput[] = {"attn.c_proj"};
constexpr const char* kUp[] = {"mlp.c_fc"};
constexpr const char* kDown[] = {"mlp.c_proj"};
constexpr FusedRow kFused[] = {
    {"attn.c_attn", "attn_qkv", kQkv, true},
    {"attn.c_proj", "attn_output", kOutput, true},
    {"mlp.c_fc", "ffn_up", kUp, true},
    {"mlp.c_proj", "ffn_down", kDown, true},
};
constexpr const char* kReads[] = {"hidden_act"};

LayerPlan plan(const ModelConfig&, std::int64_t) {
  return {.activation = Activation::gelu_tanh, .rope = -1, .gated = false};
}

void read_sizes(ConfigFields& fields, ModelConfig& config) {
  config.vocab_size = fields.integer("vocab_size");
  config.hidden_size = fields.integer("n_embd");
  const bool small = config.hidden_size > 0 && config.hidden_size < (std::int64_t{1} << 40);
  config.intermediate_size = fields.integer_or("n_inner", small ? 4 * config.hidden_size : 0);
  config.layers = fields.integer("n_layer");
  config.heads = fields.integer("n_head");
  config.context = fields.integer_or("n_positions", fields.integer_or("n_ctx", 1024));
  config.rms_norm_eps = fields.number_or("layer_norm_epsilon", 1e-5);
  config.tied_embeddings = fields.boolean_or("tie_word_embeddings", true);
}

void read_config(ConfigFields& fields, ModelConfig& config) {
  config.kv_heads = config.heads;
  read_head_dim(fields, config);
  const std::string activation = fields.string_or("activation_function", "gelu_new");
  if (activation != "gelu_new" && activation != "gelu_pytorch_tanh") {
    fields.fail("activation_function",
                shown(activation) + " is not supported (gelu_new, gelu_pytorch_tanh)");
  }
  if (!fields.boolean_or("scale_attn_weights", true)) {
    fields.fail("scale_attn_weights", "is false, which is not supported");
  }
  for (const char* flag : {"scale_attn_by_inverse_layer_idx", "add_cross_attention"}) {
    if (fields.boolean_or(flag, false)) fields.fail(flag, "is true, which is not supported");
  }
}

void read_gguf_keys(GgufKeys& keys, const std::string& prefix, ModelConfig& config) {
  config.rms_norm_eps = keys.real(prefix + "attention.layer_norm_epsilon");
}

}  // namespace

constinit const Architecture kGpt2{
    .name = "gpt2",
    .class_name = "GPT2LMHeadModel",
    .gguf = {.architecture = "gpt2", .interleaved = false, .window = false, .read = read_gguf_keys},
    .layers = "transformer.h.",
    .before = kBefore,
    .layer = kLayer,
    .after = kAfter,
    .fused = kFused,
    .norm = NormKind::layer,
    .plan = plan,
    .reads = kReads,
    .read_sizes = read_sizes,
    .read_config = read_config,
};

}  // namespace isobit
