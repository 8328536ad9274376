// Implementation of runtime/checkpoint/gguf_metadata.h.
#include "runtime/checkpoint/gguf_metadata.h"

#include <cstring>
#include <limits>
#include <optional>
#include <utility>

#include "runtime/checkpoint/json.h"
#include "runtime/model/arch/architecture.h"

namespace isobit {
namespace {

/// Typed access to metadata. The first problem is kept; later reads give their fallback.
class Keys {
 public:
  Keys(const GgufMetadata& metadata, const std::string& place)
      : metadata_(metadata), place_(place) {}

  [[nodiscard]] const GgufValue* find(const std::string& key) const {
    const auto found = metadata_.find(key);
    return found == metadata_.end() ? nullptr : &found->second;
  }

  std::int64_t integer(const std::string& key) {
    require(key);
    return integer_or(key, 0);
  }
  std::int64_t integer_or(const std::string& key, std::int64_t fallback) {
    const GgufValue* value = find(key);
    if (value == nullptr) return fallback;
    const bool fits =
        value->is_integer() &&
        value->unsigned_value <= std::uint64_t{std::numeric_limits<std::int64_t>::max()};
    if (!fits) return fail_type(key, *value, "one integer"), fallback;
    // One of the two is zero, whichever the stored type.
    return value->signed_value + static_cast<std::int64_t>(value->unsigned_value);
  }
  double real(const std::string& key) {
    require(key);
    return real_or(key, 1.0);
  }
  double real_or(const std::string& key, double fallback) {
    const GgufValue* value = find(key);
    if (value == nullptr) return fallback;
    if (!value->is_real()) return fail_type(key, *value, "one float"), fallback;
    return value->real_value;
  }
  bool boolean_or(const std::string& key, bool fallback) {
    const GgufValue* value = find(key);
    if (value == nullptr) return fallback;
    if (value->type != GgufType::boolean) return fail_type(key, *value, "a boolean"), fallback;
    return value->unsigned_value != 0;
  }
  std::string string_or(const std::string& key, const std::string& fallback) {
    const GgufValue* value = find(key);
    if (value == nullptr) return fallback;
    if (value->type != GgufType::string) return fail_type(key, *value, "a string"), fallback;
    return std::string(value->string_value);
  }
  std::vector<std::string> strings(const std::string& key) {
    const GgufValue* value = find(key);
    if (value == nullptr) return {};
    if (value->type != GgufType::array || value->element_type != GgufType::string) {
      return fail_type(key, *value, "an array of strings"), std::vector<std::string>{};
    }
    return {value->strings.begin(), value->strings.end()};
  }
  std::vector<float> reals(const std::string& key) {
    const GgufValue* value = find(key);
    if (value == nullptr) return {};
    if (value->type != GgufType::array || value->element_type != GgufType::f32) {
      return fail_type(key, *value, "an array of f32"), std::vector<float>{};
    }
    std::vector<float> out(static_cast<std::size_t>(value->count));
    if (!out.empty()) std::memcpy(out.data(), value->elements.data(), value->elements.size());
    return out;
  }
  std::vector<std::int32_t> integers(const std::string& key) {
    const GgufValue* value = find(key);
    if (value == nullptr) return {};
    if (value->type != GgufType::array ||
        (value->element_type != GgufType::i32 && value->element_type != GgufType::u32)) {
      return fail_type(key, *value, "an array of 32-bit integers"), std::vector<std::int32_t>{};
    }
    std::vector<std::int32_t> out(static_cast<std::size_t>(value->count));
    if (!out.empty()) std::memcpy(out.data(), value->elements.data(), value->elements.size());
    return out;
  }
  /// A token id; -1 when the key is absent. Writers use the largest u32 for "none" too.
  std::int32_t token(const std::string& key) {
    const std::int64_t id = integer_or(key, -1);
    if (id == std::numeric_limits<std::uint32_t>::max()) return -1;
    if (id < -1 || id > std::numeric_limits<std::int32_t>::max()) {
      fail(key, "is " + std::to_string(id) + "; it must be a token id");
      return -1;
    }
    return static_cast<std::int32_t>(id);
  }

  void require(const std::string& key) {
    if (find(key) == nullptr) fail(key, "is missing");
  }
  void fail(const std::string& key, const std::string& what) {
    if (!error) error = Error{"metadata key " + shown(key) + " " + what, place_};
  }
  void fail_type(const std::string& key, const GgufValue& value, const std::string& expected) {
    fail(key, "is " + shown(value.text()) + "; it must be " + expected);
  }

  std::optional<Error> error;

 private:
  const GgufMetadata& metadata_;
  const std::string& place_;
};

/// Features of relatives that the forward pass does not compute.
void refuse_other_arithmetic(Keys& keys, const std::string& arch) {
  for (const char* key :
       {"expert_count", "expert_used_count", "attention.clamp_kqv", "attention.max_alibi_bias",
        "attn_logit_softcapping", "final_logit_softcapping", "embedding_scale", "residual_scale",
        "logit_scale", "attention.scale", "attention.temperature_scale",
        "interleaved_moe_layer_step", "rope.scaling.yarn_ext_factor"}) {
    const GgufValue* value = keys.find(arch + key);
    if (value == nullptr) continue;
    const bool zero = (value->is_integer() || value->is_real()) && value->unsigned_value == 0 &&
                      value->signed_value == 0 && value->real_value == 0.0;
    if (!zero) {
      keys.fail(arch + key,
                "= " + shown(value->text()) + " changes the arithmetic and is not supported");
    }
  }
  for (const char* key : {"rope.scale_linear", "rope.scaling.attn_factor"}) {
    if (keys.real_or(arch + key, 1.0) != 1.0) {
      keys.fail(arch + key, "changes the arithmetic and is not supported; convert the model anew");
    }
  }
  if (!keys.boolean_or(arch + "attention.causal", true)) {
    keys.fail(arch + "attention.causal", "is false; only causal attention is supported");
  }
  if (keys.integer_or("split.count", 1) > 1) {
    keys.fail("split.count", "is above 1: a split GGUF is not supported; merge its files first");
  }
}

void read_rope(Keys& keys, const std::string& arch, ModelConfig& config) {
  config.rope_theta = keys.real_or(arch + "rope.freq_base", 10000.0);
  const std::int64_t rotated = keys.integer_or(arch + "rope.dimension_count", config.head_dim);
  if (rotated != config.head_dim) {
    keys.fail(arch + "rope.dimension_count", "is " + std::to_string(rotated) + " but a head has " +
                                                 std::to_string(config.head_dim) +
                                                 " elements: partial rotation is not supported");
  }
  const double factor = keys.real_or(arch + "rope.scaling.factor", 1.0);
  // llama.cpp: a factor without a type means linear.
  const std::string type = keys.string_or(arch + "rope.scaling.type", "linear");
  if (type != "linear" && type != "none") {
    keys.fail(arch + "rope.scaling.type", shown(type) + " is not supported (none, linear)");
  }
  if (type == "linear" && factor != 1.0 && factor != 0.0) {
    config.rope_scaling.kind = RopeScaling::Kind::linear;
    config.rope_scaling.factor = factor;
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
  config.rms_norm_eps = keys.real(arch + "attention.layer_norm_rms_epsilon");
  read_heads(keys, arch, config);
  read_rope(keys, arch, config);
  refuse_other_arithmetic(keys, arch);
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
