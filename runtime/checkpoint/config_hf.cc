// config.json of Hugging Face transformers -> ModelConfig (see runtime/model/config.h).
//
// What all families say in the same words is read here, the rest by the family's own file
// (runtime/model/arch). Whatever would change the arithmetic that the forward pass does is refused
// by name instead of being ignored.
#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "runtime/checkpoint/json.h"
#include "runtime/checkpoint/stop_set.h"
#include "runtime/model/arch/architecture.h"

namespace isobit {
namespace {

using nlohmann::json;

/// A key that changes the arithmetic unless it has its neutral value.
struct Neutral {
  const char* key;
  json neutral;
};

void refuse_other_arithmetic(ConfigFields& fields) {
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
    fields.fail(entry.key, "= " + ConfigFields::shown_value(*value) +
                               " changes the arithmetic and is not supported");
  }
  const std::string activation = fields.string_or("hidden_act", "silu");
  if (activation != "silu" && activation != "swish") {
    fields.fail("hidden_act", shown(activation) + " is not supported (silu)");
  }
}

/// The family of "architectures" and "model_type"; null after a failure.
const Architecture* read_architecture(ConfigFields& fields) {
  const std::string type = fields.string_or("model_type", "");
  const json* list = fields.find("architectures");
  if (list == nullptr) {
    const Architecture* found = find_architecture(type);
    if (type.empty()) {
      fields.fail("architectures", "is missing; is this a model's config.json?");
    } else if (found == nullptr) {
      fields.fail("model_type",
                  shown(type) + " is not supported (" +
                      architecture_names([](const Architecture& a) { return a.name; }) + ")");
    }
    return found;
  }
  if (!list->is_array() || list->size() != 1 || !(*list)[0].is_string()) {
    fields.fail_type("architectures", *list, "a list of one name");
    return nullptr;
  }
  const std::string written = (*list)[0].get<std::string>();
  const Architecture* found = find_architecture_of_class(written);
  if (found == nullptr) {
    fields.fail("architectures",
                shown(written) + " is not supported (" +
                    architecture_names([](const Architecture& a) { return a.class_name; }) + ")");
  } else if (!type.empty() && type != found->name) {
    fields.fail("model_type", shown(type) + " does not belong to " + shown(written));
  }
  return found;
}

/// Refuses every key of `fields` that `known` does not list.
void refuse_unknown(ConfigFields& fields, const std::vector<std::string>& known) {
  for (const auto& item : fields.object().items()) {
    if (item.value().is_null()) continue;
    if (std::find(known.begin(), known.end(), item.key()) != known.end()) continue;
    fields.fail(item.key(), "is not supported with this kind of RoPE");
  }
}

/// Reads "rope_scaling" or the newer "rope_parameters".
void read_rope(ConfigFields& rope, ModelConfig& config) {
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
std::optional<Error> read_position(ConfigFields& fields, const std::string& text,
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
  ConfigFields rope(*chosen, key + ".", text, place);
  const double theta = rope.number_or("rope_theta", config.rope_theta);
  if (fields.find("rope_theta") != nullptr && theta != config.rope_theta) {
    fields.fail("rope_theta", "differs from " + key + ".rope_theta");
  }
  config.rope_theta = theta;
  read_rope(rope, config);
  return rope.error;
}

void read_tokens(ConfigFields& fields, ModelConfig& config) {
  // Whether a prompt begins with BOS is the tokenizer's affair: any integer is taken, and one that
  // is no id of the vocabulary is none.
  if (const json* bos = fields.find("bos_token_id")) {
    if (!bos->is_number_integer()) {
      fields.fail_type("bos_token_id", *bos, "a token id");
    } else if (*bos >= 0 && *bos < config.vocab_size) {
      config.bos_token = bos->get<std::int32_t>();
    }
  }
  const json* eos = fields.find("eos_token_id");
  if (eos == nullptr) return;
  const Result<void> set = set_stop_tokens(config, *eos, "config.json", "");
  if (!set) fields.fail_type("eos_token_id", *eos, "a token id or a list of them");
}

/// What every family says in the same words.
void read_sizes(ConfigFields& fields, ModelConfig& config) {
  config.vocab_size = fields.integer("vocab_size");
  config.hidden_size = fields.integer("hidden_size");
  config.intermediate_size = fields.integer("intermediate_size");
  config.layers = fields.integer("num_hidden_layers");
  config.heads = fields.integer("num_attention_heads");
  config.context = fields.integer("max_position_embeddings");
  config.segments = fields.integer_or("isobit_segments", 8);
  config.rms_norm_eps = fields.number_or("rms_norm_eps", 1e-6);
  config.tied_embeddings = fields.boolean_or("tie_word_embeddings", false);
}

}  // namespace

Result<ModelConfig> parse_hf_config(const std::string& text, const std::string& place) {
  const Result<json> parsed = parse_strict_json(text, JsonPlace{place, std::nullopt});
  ISOBIT_TRY(parsed);
  if (!parsed->is_object()) return Error{"must be a JSON object", place};
  ConfigFields fields(*parsed, "", text, place);
  const Architecture* architecture = read_architecture(fields);
  if (architecture == nullptr) return *fields.error;
  ModelConfig config;
  config.architecture = architecture->name;
  config.name = fields.string_or("_name_or_path", "");
  refuse_other_arithmetic(fields);
  read_sizes(fields, config);
  architecture->read_config(fields, config);
  const std::optional<Error> rope_error = read_position(fields, text, place, config);
  read_tokens(fields, config);
  if (fields.error) return *fields.error;
  if (rope_error) return *rope_error;
  const Result<void> valid = config.validate();
  if (!valid) return Error{valid.error().message, place};
  return config;
}

}  // namespace isobit
