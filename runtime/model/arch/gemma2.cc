// Gemma 2: norms before and after attention and MLP, soft caps, every second layer slides.
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
    {"self_attn.v_proj", "attn_v", key_value, hidden, &LayerWeights::v, always, attention_bias},
    {"self_attn.o_proj", "attn_output", hidden, attention, &LayerWeights::o, always,
     attention_bias},
    {"post_attention_layernorm", "post_attention_norm", one, hidden, &LayerWeights::output_norm1},
    {"pre_feedforward_layernorm", "ffn_norm", one, hidden, &LayerWeights::norm2},
    {"mlp.gate_proj", "ffn_gate", mlp, hidden, &LayerWeights::gate},
    {"mlp.up_proj", "ffn_up", mlp, hidden, &LayerWeights::up},
    {"mlp.down_proj", "ffn_down", hidden, mlp, &LayerWeights::down},
    {"post_feedforward_layernorm", "post_ffw_norm", one, hidden, &LayerWeights::output_norm2},
};

constexpr const char* kReads[] = {"hidden_act", "query_pre_attn_scalar", "attn_logit_softcapping",
                                  "final_logit_softcapping"};
constexpr const char* kGgufReads[] = {"attn_logit_softcapping", "final_logit_softcapping"};

LayerPlan plan(const ModelConfig& config, std::int64_t layer) {
  return {.window = config.window(layer),
          .norms = NormPlace::both,
          .activation = Activation::gelu_tanh};
}

void read_config(ConfigFields& fields, ModelConfig& config) {
  read_gemma(fields, config);
  config.attention_softcap = read_softcap(fields, "attn_logit_softcapping", 50.0);
  config.logit_softcap = read_softcap(fields, "final_logit_softcapping", 30.0);
  read_windows(fields, 4096, 2, config);
}

/// llama.cpp divides by the root of the head's size, but for the 27B model.
void read_gguf_keys(GgufKeys& keys, const std::string& prefix, ModelConfig& config) {
  config.attention_softcap = keys.real_or(prefix + "attn_logit_softcapping", 50.0);
  config.logit_softcap = keys.real_or(prefix + "final_logit_softcapping", 30.0);
  if (config.layers == 46) config.query_scale = double(config.hidden_size) / double(config.heads);
  config.sliding_window = keys.integer_or(prefix + "attention.sliding_window", 4096);
  slide_except_every(2, config);
}

}  // namespace

constinit const Architecture kGemma2{
    .name = "gemma2",
    .class_name = "Gemma2ForCausalLM",
    .gguf = {.architecture = "gemma2",
             .interleaved = false,
             .window = true,
             .reads = kGgufReads,
             .read = read_gguf_keys},
    .before = kUsualBefore,
    .layer = kLayer,
    .after = kUsualAfter,
    .norms_add_one = true,
    .context = 8192,
    .scales_embedding = true,
    .plan = plan,
    .reads = kReads,
    .read_config = read_config,
};

}  // namespace isobit
