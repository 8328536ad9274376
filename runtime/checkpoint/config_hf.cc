// config.json of Hugging Face transformers -> ModelConfig (see runtime/model/config.h).
//
// Types are strict, defaults are transformers' own, and whatever would change the arithmetic that
// the forward pass does is refused by name instead of being ignored.
#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>

#include "runtime/checkpoint/json.h"
#include "runtime/model/config.h"

namespace isobit {
namespace {

using nlohmann::json;

/// Typed access to one JSON object. The first problem is kept; later reads give their fallback.
class Fields {
 public:
  Fields(const json& object, std::string prefix, const std::string& text, const std::string& place)
      : object_(object), prefix_(std::move(prefix)), text_(text), place_(place) {}

  /// nullptr when the key is absent or null.
  [[nodiscard]] const json* find(const std::string& key) const {
    const auto found = object_.find(key);
    return found == object_.end() || found->is_null() ? nullptr : &*found;
  }
  [[nodiscard]] bool has(const std::string& key) const { return object_.contains(key); }

  std::int64_t integer(const std::string& key) {
    require(key);
    return integer_or(key, 0);
  }
  std::int64_t integer_or(const std::string& key, std::int64_t fallback) {
    const json* value = find(key);
    if (value == nullptr) return fallback;
    const bool fits =
        value->is_number_integer() &&
        (!value->is_number_unsigned() ||
         value->get<std::uint64_t>() <= std::uint64_t{std::numeric_limits<std::int64_t>::max()});
    if (!fits) return fail_type(key, *value, "an integer"), fallback;
    return value->get<std::int64_t>();
  }
  double number(const std::string& key) {
    require(key);
    return number_or(key, 1.0);
  }
  double number_or(const std::string& key, double fallback) {
    const json* value = find(key);
    if (value == nullptr) return fallback;
    if (!value->is_number()) return fail_type(key, *value, "a number"), fallback;
    return value->get<double>();
  }
  bool boolean_or(const std::string& key, bool fallback) {
    const json* value = find(key);
    if (value == nullptr) return fallback;
    if (!value->is_boolean()) return fail_type(key, *value, "true or false"), fallback;
    return value->get<bool>();
  }
  std::string string_or(const std::string& key, const std::string& fallback) {
    const json* value = find(key);
    if (value == nullptr) return fallback;
    if (!value->is_string()) return fail_type(key, *value, "a string"), fallback;
    return value->get<std::string>();
  }
  void require(const std::string& key) {
    if (find(key) == nullptr) fail(key, "is missing");
  }

  /// "key what", at the place where the key is written.
  void fail(const std::string& key, const std::string& what) {
    if (!error) error = Error{prefix_ + key + " " + what, place_of(key)};
  }
  void fail_type(const std::string& key, const json& value, const std::string& expected) {
    fail(key, "is " + shown_value(value) + "; it must be " + expected);
  }
  static std::string shown_value(const json& value) {
    if (value.is_object()) return "an object";
    if (value.is_array()) return "a list";
    return value.dump(-1, ' ', false, json::error_handler_t::replace).substr(0, 80);
  }

  std::optional<Error> error;
  [[nodiscard]] const json& object() const { return object_; }

 private:
  /// The line of the first `"key":`; the file alone when the key is absent or written in escapes.
  [[nodiscard]] std::string place_of(const std::string& key) const {
    const std::string name = "\"" + key + "\"";
    for (std::size_t at = text_.find(name); at != std::string::npos;
         at = text_.find(name, at + 1)) {
      const std::size_t next = text_.find_first_not_of(" \t\r\n", at + name.size());
      if (next != std::string::npos && text_[next] == ':') {
        return JsonPlace{place_, std::nullopt}.at(text_, at);
      }
    }
    return place_;
  }

  const json& object_;
  std::string prefix_;  // path of the object, "" or "rope_scaling."
  const std::string& text_;
  const std::string& place_;
};

/// A key that changes the arithmetic unless it has its neutral value.
struct Neutral {
  const char* key;
  json neutral;
};

void refuse_other_arithmetic(Fields& fields) {
  static const Neutral kNeutral[] = {
      {"quantization_config", nullptr},
      {"compression_config", nullptr},
      {"partial_rotary_factor", 1.0},
      {"rope_interleaved", false},
      {"pretraining_tp", 1},
      {"attn_logit_softcapping", nullptr},
      {"final_logit_softcapping", nullptr},
      {"query_pre_attn_scalar", nullptr},
      {"embedding_multiplier", 1.0},
      {"attention_multiplier", nullptr},
      {"residual_multiplier", 1.0},
      {"logits_scaling", 1.0},
      {"logit_scale", 1.0},
      {"clip_qkv", nullptr},
      {"use_qk_norm", false},
      {"qk_norm", false},
      {"num_local_experts", nullptr},
      {"num_experts", nullptr},
      {"n_routed_experts", nullptr},
      {"no_rope_layers", nullptr},
      {"attention_chunk_size", nullptr},
      {"attn_scale", nullptr},
  };
  for (const Neutral& entry : kNeutral) {
    const json* value = fields.find(entry.key);
    if (value == nullptr || *value == entry.neutral) continue;
    fields.fail(entry.key, "= " + Fields::shown_value(*value) +
                               " changes the arithmetic and is not supported");
  }
  const std::string activation = fields.string_or("hidden_act", "silu");
  if (activation != "silu" && activation != "swish") {
    fields.fail("hidden_act", shown(activation) + " is not supported (silu)");
  }
}

std::string architecture_of(Fields& fields) {
  const std::string type = fields.string_or("model_type", "");
  std::string name = type;
  if (const json* list = fields.find("architectures")) {
    if (!list->is_array() || list->size() != 1 || !(*list)[0].is_string()) {
      fields.fail_type("architectures", *list, "a list of one name");
      return name;
    }
    const std::string written = (*list)[0].get<std::string>();
    if (written == "LlamaForCausalLM")
      name = "llama";
    else if (written == "MistralForCausalLM")
      name = "mistral";
    else
      fields.fail("architectures", shown(written) +
                                       " is not supported (LlamaForCausalLM, "
                                       "MistralForCausalLM)");
    if (!type.empty() && type != name) {
      fields.fail("model_type", shown(type) + " does not belong to " + shown(written));
    }
  } else if (name.empty()) {
    fields.fail("architectures", "is missing; is this a model's config.json?");
  } else if (name != "llama" && name != "mistral") {
    fields.fail("model_type", shown(name) + " is not supported (llama, mistral)");
  }
  return name;
}

/// Refuses every key of `fields` that `known` does not list.
void refuse_unknown(Fields& fields, const std::vector<std::string>& known) {
  for (const auto& item : fields.object().items()) {
    if (item.value().is_null()) continue;
    if (std::find(known.begin(), known.end(), item.key()) != known.end()) continue;
    fields.fail(item.key(), "is not supported with this kind of RoPE");
  }
}

/// Reads "rope_scaling" or the newer "rope_parameters".
void read_rope(Fields& rope, ModelConfig& config) {
  const std::string type = rope.string_or("rope_type", rope.string_or("type", "default"));
  if (rope.find("rope_type") != nullptr && rope.find("type") != nullptr &&
      rope.string_or("type", "") != type) {
    rope.fail("type", "and rope_type differ");
  }
  if (rope.number_or("partial_rotary_factor", 1.0) != 1.0) {
    rope.fail("partial_rotary_factor", "changes the arithmetic and is not supported");
  }
  std::vector<std::string> known = {"type", "rope_type", "rope_theta", "partial_rotary_factor"};
  RopeScaling& scaling = config.rope_scaling;
  if (type == "linear") {
    scaling.kind = RopeScaling::Kind::linear;
    scaling.factor = rope.number("factor");
    known.insert(known.end(), {"factor"});
  } else if (type == "llama3") {
    scaling.kind = RopeScaling::Kind::llama3;
    scaling.factor = rope.number("factor");
    scaling.low_freq_factor = rope.number("low_freq_factor");
    scaling.high_freq_factor = rope.number("high_freq_factor");
    scaling.original_context = rope.integer("original_max_position_embeddings");
    known.insert(known.end(), {"factor", "low_freq_factor", "high_freq_factor",
                               "original_max_position_embeddings"});
  } else if (type != "default") {
    rope.fail(rope.find("rope_type") != nullptr ? "rope_type" : "type",
              shown(type) + " is not supported (default, linear, llama3)");
  }
  refuse_unknown(rope, known);
}

/// RoPE from "rope_theta" with "rope_scaling", or from "rope_parameters".
std::optional<Error> read_position(Fields& fields, const std::string& text,
                                   const std::string& place, ModelConfig& config) {
  config.rope_theta = fields.number_or("rope_theta", 10000.0);
  const json* scaling = fields.find("rope_scaling");
  const json* parameters = fields.find("rope_parameters");
  if (scaling != nullptr && parameters != nullptr && *scaling != *parameters) {
    fields.fail("rope_scaling", "and rope_parameters are both given and differ");
  }
  const std::string key = parameters != nullptr ? "rope_parameters" : "rope_scaling";
  const json* chosen = parameters != nullptr ? parameters : scaling;
  if (chosen == nullptr) return std::nullopt;
  if (!chosen->is_object()) {
    fields.fail_type(key, *chosen, "an object or null");
    return std::nullopt;
  }
  Fields rope(*chosen, key + ".", text, place);
  const double theta = rope.number_or("rope_theta", config.rope_theta);
  if (fields.find("rope_theta") != nullptr && theta != config.rope_theta) {
    fields.fail("rope_theta", "differs from " + key + ".rope_theta");
  }
  config.rope_theta = theta;
  read_rope(rope, config);
  return rope.error;
}

/// transformers: Mistral slides over 4096 positions unless told otherwise; Llama never slides.
void read_window(Fields& fields, ModelConfig& config) {
  const bool mistral = config.architecture == "mistral";
  const std::int64_t fallback = mistral && !fields.has("sliding_window") ? 4096 : 0;
  config.sliding_window = fields.integer_or("sliding_window", fallback);
  if (!mistral && config.sliding_window != 0) {
    fields.fail("sliding_window",
                "has no effect on a Llama in transformers; use null, or "
                "architecture MistralForCausalLM");
  }
  if (mistral && fields.find("sliding_window") != nullptr && config.sliding_window < 1) {
    fields.fail("sliding_window", "must be null or at least 1");
  }
  const json* kinds = fields.find("layer_types");
  if (kinds == nullptr) return;
  const char* expected = config.sliding_window > 0 ? "sliding_attention" : "full_attention";
  const bool uniform =
      kinds->is_array() &&
      std::all_of(kinds->begin(), kinds->end(), [&](const json& k) { return k == expected; });
  if (!uniform)
    fields.fail("layer_types", "must be null or \"" + std::string(expected) + "\" for every layer");
}

std::int32_t token_or(Fields& fields, const std::string& key, const json& value) {
  if (!value.is_number_integer() || value < 0 || value > (1 << 24)) {
    fields.fail_type(key, value, "a token id");
    return -1;
  }
  return value.get<std::int32_t>();
}

void read_tokens(Fields& fields, ModelConfig& config) {
  if (const json* bos = fields.find("bos_token_id")) {
    config.bos_token = token_or(fields, "bos_token_id", *bos);
  }
  const json* eos = fields.find("eos_token_id");
  if (eos == nullptr) return;
  const json list = eos->is_array() ? *eos : json::array({*eos});
  for (const json& value : list) {
    const std::int32_t id = token_or(fields, "eos_token_id", value);
    auto& ids = config.eos_tokens;
    if (id >= 0 && std::find(ids.begin(), ids.end(), id) == ids.end()) ids.push_back(id);
  }
}

void read_sizes(Fields& fields, ModelConfig& config) {
  config.vocab_size = fields.integer("vocab_size");
  config.hidden_size = fields.integer("hidden_size");
  config.intermediate_size = fields.integer("intermediate_size");
  config.layers = fields.integer("num_hidden_layers");
  config.heads = fields.integer("num_attention_heads");
  const bool mistral = config.architecture == "mistral";
  if (mistral && !fields.has("num_key_value_heads")) fields.require("num_key_value_heads");
  config.kv_heads = fields.integer_or("num_key_value_heads", config.heads);
  config.context = fields.integer("max_position_embeddings");
  config.segments = fields.integer_or("isobit_segments", 8);
  config.rms_norm_eps = fields.number_or("rms_norm_eps", 1e-6);
  config.tied_embeddings = fields.boolean_or("tie_word_embeddings", false);
  config.attention_bias = fields.boolean_or("attention_bias", false);
  config.mlp_bias = fields.boolean_or("mlp_bias", false);
  if (mistral && config.attention_bias) fields.fail("attention_bias", "is not part of Mistral");
  if (mistral && config.mlp_bias) fields.fail("mlp_bias", "is not part of Mistral");
  const bool divides = config.heads > 0 && config.hidden_size % config.heads == 0;
  if (fields.find("head_dim") == nullptr && !divides) {
    fields.fail("head_dim", "is missing and hidden_size (" + std::to_string(config.hidden_size) +
                                ") is no multiple of num_attention_heads (" +
                                std::to_string(config.heads) + ")");
  }
  config.head_dim = fields.integer_or("head_dim", divides ? config.hidden_size / config.heads : 0);
}

}  // namespace

Result<ModelConfig> parse_hf_config(const std::string& text, const std::string& place) {
  const Result<json> parsed = parse_strict_json(text, JsonPlace{place, std::nullopt});
  ISOBIT_TRY(parsed);
  if (!parsed->is_object()) return Error{"must be a JSON object", place};
  Fields fields(*parsed, "", text, place);
  ModelConfig config;
  config.architecture = architecture_of(fields);
  config.name = fields.string_or("_name_or_path", "");
  refuse_other_arithmetic(fields);
  read_sizes(fields, config);
  const std::optional<Error> rope_error = read_position(fields, text, place, config);
  read_window(fields, config);
  read_tokens(fields, config);
  if (fields.error) return *fields.error;
  if (rope_error) return *rope_error;
  const Result<void> valid = config.validate();
  if (!valid) return Error{valid.error().message, place};
  return config;
}

}  // namespace isobit
