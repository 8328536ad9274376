// SmolLM3: a Llama in which every fourth layer does not rotate q and k.
#include "runtime/checkpoint/gguf_keys.h"
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
constexpr const char* kReads[] = {"no_rope_layers"};

LayerPlan plan(const ModelConfig& config, std::int64_t layer) {
  return {.window = config.window(layer), .rope = std::int8_t(config.rotates(layer) ? 0 : -1)};
}

/// "no_rope_layers" (0: does not rotate, 1: rotates), or every no_rope_layer_interval-th layer.
void read_rotating_layers(ConfigFields& fields, ModelConfig& config) {
  const std::int64_t every = fields.integer_or("no_rope_layer_interval", 4);
  if (every < 1) return fields.fail("no_rope_layer_interval", "must be at least 1");
  const std::int64_t layers = std::min(config.layers, kMostLayers);
  std::vector<std::int64_t> flags;
  for (std::int64_t i = 0; i < layers; ++i) flags.push_back((i + 1) % every != 0);
  flags = fields.integers_or("no_rope_layers", flags);
  const bool fits =
      std::int64_t(flags.size()) == layers &&
      std::all_of(flags.begin(), flags.end(), [](auto f) { return f == 0 || f == 1; });
  if (!fits) return fields.fail("no_rope_layers", "must be a list of 0 or 1 for every layer");
  config.rotating.assign(flags.begin(), flags.end());
}

void read_config(ConfigFields& fields, ModelConfig& config) {
  read_kv_heads(fields, 4, config);
  config.attention_bias = fields.boolean_or("attention_bias", false);
  config.mlp_bias = fields.boolean_or("mlp_bias", false);
  config.tied_embeddings = fields.boolean_or("tie_word_embeddings", true);
  config.ropes.front().base = 2e6;
  read_head_dim(fields, config);
  read_rotating_layers(fields, config);
  read_used_windows(
      fields, 0, [&](std::int64_t i) { return !config.rotates(i); }, config);
}

void read_gguf_keys(GgufKeys&, const std::string&, ModelConfig& config) {
  for (std::int64_t i = 0; i < std::min(config.layers, kMostLayers); ++i) {
    config.rotating.push_back((i + 1) % 4 != 0);
  }
}

}  // namespace

constinit const Architecture kSmolLm3{
    .name = "smollm3",
    .class_name = "SmolLM3ForCausalLM",
    .gguf = {.architecture = "smollm3",
             .interleaved = true,
             .window = false,
             .read = read_gguf_keys},
    .before = kUsualBefore,
    .layer = kLayer,
    .after = kUsualAfter,
    .context = 32768,
    .plan = plan,
    .reads = kReads,
    .read_config = read_config,
};

}  // namespace isobit
