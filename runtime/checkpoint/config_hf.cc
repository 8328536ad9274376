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
#include "runtime/checkpoint/quantization.h"
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

/// `reads`: keys that the family reads itself.
void refuse_other_arithmetic(ConfigFields& fields, std::span<const char* const> reads) {
  const auto is_read = [&](std::string_view key) {
    return std::find(reads.begin(), reads.end(), key) != reads.end();
  };
  static const Neutral kNeutral[] = {
      {"compression_config", nullptr},
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
    if (value == nullptr || *value == entry.neutral || is_read(entry.key)) continue;
    fields.fail(entry.key, "= " + ConfigFields::shown_value(*value) +
                               " changes the arithmetic and is not supported");
  }
  if (is_read("hidden_act")) return;
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
  config.context =
      fields.integer_or("max_position_embeddings", find_architecture(config.architecture)->context);
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
  refuse_other_arithmetic(fields, architecture->reads);
  config.segments = fields.integer_or("isobit_segments", 8);
  (architecture->read_sizes != nullptr ? architecture->read_sizes : read_sizes)(fields, config);
  architecture->read_config(fields, config);
  read_ropes(fields, config);
  const std::optional<Error> scales_error = read_quantization(fields, text, place, config);
  read_tokens(fields, config);
  if (fields.error) return *fields.error;
  if (scales_error) return *scales_error;
  const Result<void> valid = config.validate();
  if (!valid) return Error{valid.error().message, place};
  return config;
}

}  // namespace isobit
