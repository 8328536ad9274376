// Implementation of runtime/checkpoint/gguf_metadata.h.
#include "runtime/checkpoint/gguf_metadata.h"

#include <algorithm>
#include <span>
#include <utility>

#include "runtime/checkpoint/gguf_keys.h"
#include "runtime/checkpoint/json.h"
#include "runtime/model/arch/architecture.h"
#include "runtime/numerics/functions.h"

namespace isobit {
namespace {

using Keys = GgufKeys;

/// Features of relatives that the forward pass does not compute.
void refuse_other_arithmetic(Keys& keys, const std::string& arch,
                             std::span<const char* const> reads) {
  for (const char* key :
       {"expert_count", "expert_used_count", "attention.clamp_kqv", "attention.max_alibi_bias",
        "attn_logit_softcapping", "final_logit_softcapping", "embedding_scale", "residual_scale",
        "logit_scale", "attention.scale", "attention.temperature_scale",
        "interleaved_moe_layer_step", "attention.sliding_window_pattern",
        "rope.scaling.yarn_log_multiplier"}) {
    const GgufValue* value = keys.find(arch + key);
    const bool read = std::find(reads.begin(), reads.end(), std::string_view(key)) != reads.end();
    if (value == nullptr || read) continue;
    const bool zero = (value->is_integer() || value->is_real()) && value->unsigned_value == 0 &&
                      value->signed_value == 0 && value->real_value == 0.0;
    if (!zero) {
      keys.fail(arch + key,
                "= " + shown(value->text()) + " changes the arithmetic and is not supported");
    }
  }
  for (const char* key : {"rope.scale_linear", "rope.scaling.yarn_attn_factor"}) {
    if (keys.real_or(arch + key, 1.0) != 1.0) {
      keys.fail(arch + key, "changes the arithmetic and is not supported; convert the model anew");
    }
  }
  if (!keys.boolean_or(arch + "attention.causal", true)) {
    keys.fail(arch + "attention.causal", "is false; only causal attention is supported");
  }
}

/// How llama.cpp stretches RoPE: linear, or yarn with the same ramp as transformers'.
void read_scaling(Keys& keys, const std::string& rope, RopeScaling& scaling) {
  const double factor = keys.real_or(rope + "scaling.factor", 1.0);
  // llama.cpp: a factor without a type means linear.
  const std::string type = keys.string_or(rope + "scaling.type", "linear");
  scaling.attention_factor = keys.real_or(rope + "scaling.attn_factor", 1.0);
  const bool yarn = type == "yarn";
  const double extrapolated = keys.real_or(rope + "scaling.yarn_ext_factor", yarn ? 1.0 : 0.0);
  if (extrapolated != (yarn ? 1.0 : 0.0)) {
    keys.fail(rope + "scaling.yarn_ext_factor", "changes the arithmetic and is not supported");
  }
  if (yarn) {
    scaling.kind = RopeScaling::Kind::yarn;
    scaling.factor = factor;
    scaling.beta_fast = keys.real_or(rope + "scaling.yarn_beta_fast", 32.0);
    scaling.beta_slow = keys.real_or(rope + "scaling.yarn_beta_slow", 1.0);
    if (factor > 1.0) scaling.attention_factor *= 0.1 * log_(factor) + 1.0;
  } else if (type == "longrope") {
    scaling.kind = RopeScaling::Kind::longrope;
  } else if (type != "linear" && type != "none") {
    keys.fail(rope + "scaling.type",
              shown(type) + " is not supported (none, linear, yarn, longrope)");
  } else if (type == "linear" && factor != 1.0 && factor != 0.0) {
    scaling.kind = RopeScaling::Kind::linear;
    scaling.factor = factor;
  }
}

/// What the metadata says; longrope's factors are tensors. A second RoPE is that of layers that
/// slide, and is never stretched.
void read_ropes(Keys& keys, const std::string& arch, const GgufForm& form, ModelConfig& config) {
  const std::string key = arch + "rope.";
  Rope& rope = config.ropes.front();
  rope.base = keys.real_or(key + "freq_base", rope.base);
  const std::int64_t turned = keys.integer_or(key + "dimension_count", config.head_dim);
  if (turned != config.head_dim && form.interleaved) {
    keys.fail(key + "dimension_count", "is " + std::to_string(turned) + " but a head has " +
                                           std::to_string(config.head_dim) +
                                           " elements: partial rotation is not supported");
  }
  if (turned != config.head_dim) {
    rope.dims = turned;
    if (turned < 1) keys.fail(key + "dimension_count", "is below 1");
  }
  rope.scaling.original_context =
      keys.integer_or(key + "scaling.original_context_length", config.context);
  read_scaling(keys, key, rope.scaling);
  if (config.ropes.size() > 1) {
    config.ropes[1].base = keys.real_or(key + "freq_base_swa", config.ropes[1].base);
  }
}

void read_heads(Keys& keys, const std::string& arch, ModelConfig& config) {
  config.heads = keys.integer(arch + "attention.head_count");
  config.kv_heads = keys.integer_or(arch + "attention.head_count_kv", config.heads);
  const bool divides = config.heads > 0 && config.hidden_size % config.heads == 0;
  const std::string length = arch + "attention.key_length";
  if (keys.find(length) == nullptr && !divides) {
    keys.fail(length, "is missing and embedding_length is no multiple of head_count");
  }
  config.head_dim = keys.integer_or(length, divides ? config.hidden_size / config.heads : 0);
  if (keys.integer_or(arch + "attention.value_length", config.head_dim) != config.head_dim) {
    keys.fail(arch + "attention.value_length", "differs from the key length");
  }
}

}  // namespace

Result<ModelConfig> config_from_gguf(const GgufMetadata& metadata, const std::string& place) {
  Keys keys(metadata, place);
  keys.require("general.architecture");
  const std::string architecture = keys.string_or("general.architecture", "");
  const Architecture* family = find_architecture_of_gguf(architecture);
  if (family == nullptr) {
    keys.fail("general.architecture",
              shown(architecture) + " is not supported (" +
                  architecture_names([](const Architecture& a) { return a.gguf.architecture; }) +
                  ")");
    return *keys.error;
  }
  const std::string arch = architecture + ".";
  // llama.cpp has one name for both.
  if (family == &kLlama && keys.integer_or(arch + "expert_count", 0) > 0) family = &kMixtral;
  ModelConfig config;
  config.architecture = family->name;
  config.name = keys.string_or("general.name", "");
  config.vocab_size = keys.integer_or(arch + "vocab_size", 0);
  config.hidden_size = keys.integer(arch + "embedding_length");
  config.intermediate_size = keys.integer(arch + "feed_forward_length");
  config.layers = keys.integer(arch + "block_count");
  config.context = keys.integer(arch + "context_length");
  config.sliding_window = keys.integer_or(arch + "attention.sliding_window", 0);
  if (config.sliding_window != 0 && !family->gguf.window) {
    keys.fail(arch + "attention.sliding_window",
              "is " + std::to_string(config.sliding_window) +
                  ", and nothing says which layers slide; it is not supported");
  }
  config.segments = keys.integer_or("isobit.segments", 8);
  if (family->norm == NormKind::rms) {
    config.rms_norm_eps = keys.real(arch + "attention.layer_norm_rms_epsilon");
  }
  read_heads(keys, arch, config);
  if (!family->experts.rows.empty()) {
    config.experts = keys.integer(arch + "expert_count");
    config.experts_used = keys.integer(arch + "expert_used_count");
    config.expert_size = config.intermediate_size;
  }
  if (family->gguf.read != nullptr) family->gguf.read(keys, arch, config);
  read_ropes(keys, arch, family->gguf, config);
  refuse_other_arithmetic(keys, arch, family->gguf.reads);
  config.bos_token = keys.token("tokenizer.ggml.bos_token_id");
  if (keys.error) return *keys.error;
  return config;
}

Result<GgufTokenizer> tokenizer_from_gguf(const GgufMetadata& metadata, const std::string& place) {
  Keys keys(metadata, place);
  const std::string prefix = "tokenizer.ggml.";
  GgufTokenizer tokenizer;
  tokenizer.model = keys.string_or(prefix + "model", "");
  tokenizer.pre = keys.string_or(prefix + "pre", "");
  tokenizer.tokens = keys.strings(prefix + "tokens");
  tokenizer.token_types = keys.integers(prefix + "token_type");
  tokenizer.merges = keys.strings(prefix + "merges");
  tokenizer.scores = keys.reals(prefix + "scores");
  tokenizer.name = keys.string_or("general.name", "");
  tokenizer.bos = keys.token(prefix + "bos_token_id");
  tokenizer.eos = keys.token(prefix + "eos_token_id");
  tokenizer.eot = keys.token(prefix + "eot_token_id");
  tokenizer.eom = keys.token(prefix + "eom_token_id");
  tokenizer.unknown = keys.token(prefix + "unknown_token_id");
  tokenizer.padding = keys.token(prefix + "padding_token_id");
  const bool sentence_piece = tokenizer.model == "llama";
  const bool llama3 = tokenizer.pre == "llama-bpe" || tokenizer.pre == "llama3";
  tokenizer.add_bos = keys.boolean_or(prefix + "add_bos_token", sentence_piece || llama3);
  tokenizer.add_eos = keys.boolean_or(prefix + "add_eos_token", false);
  tokenizer.add_space_prefix = keys.boolean_or(prefix + "add_space_prefix", sentence_piece);
  tokenizer.chat_template = keys.string_or("tokenizer.chat_template", "");
  if (!tokenizer.token_types.empty() && tokenizer.token_types.size() != tokenizer.tokens.size()) {
    keys.fail(prefix + "token_type", "has " + std::to_string(tokenizer.token_types.size()) +
                                         " entries for " + std::to_string(tokenizer.tokens.size()) +
                                         " tokens");
  }
  if (keys.error) return *keys.error;
  return tokenizer;
}

}  // namespace isobit
