// Implementation of runtime/checkpoint/config_fields.h.
#include "runtime/checkpoint/config_fields.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>

#include "runtime/checkpoint/json.h"

namespace isobit {

using nlohmann::json;

const json* ConfigFields::find(const std::string& key) const {
  const auto found = object_.find(key);
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

bool ConfigFields::has(const std::string& key) const {
  return object_.contains(key);
}

std::int64_t ConfigFields::integer(const std::string& key) {
  require(key);
  return integer_or(key, 0);
}

std::int64_t ConfigFields::integer_or(const std::string& key, std::int64_t fallback) {
  const json* value = find(key);
  if (value == nullptr) return fallback;
  const bool fits =
      value->is_number_integer() &&
      (!value->is_number_unsigned() ||
       value->get<std::uint64_t>() <= std::uint64_t{std::numeric_limits<std::int64_t>::max()});
  if (!fits) return fail_type(key, *value, "an integer"), fallback;
  return value->get<std::int64_t>();
}

double ConfigFields::number(const std::string& key) {
  require(key);
  return number_or(key, 1.0);
}

double ConfigFields::number_or(const std::string& key, double fallback) {
  const json* value = find(key);
  if (value == nullptr) return fallback;
  if (!value->is_number()) return fail_type(key, *value, "a number"), fallback;
  return value->get<double>();
}

bool ConfigFields::boolean_or(const std::string& key, bool fallback) {
  const json* value = find(key);
  if (value == nullptr) return fallback;
  if (!value->is_boolean()) return fail_type(key, *value, "true or false"), fallback;
  return value->get<bool>();
}

std::vector<std::int64_t> ConfigFields::integers_or(const std::string& key,
                                                    std::vector<std::int64_t> fallback) {
  const json* value = find(key);
  if (value == nullptr) return fallback;
  std::vector<std::int64_t> out;
  for (const json& each : value->is_array() ? *value : json::array({nullptr})) {
    if (!each.is_number_integer()) return fail_type(key, *value, "a list of integers"), fallback;
    out.push_back(each.get<std::int64_t>());
  }
  return out;
}

std::string ConfigFields::string_or(const std::string& key, const std::string& fallback) {
  const json* value = find(key);
  if (value == nullptr) return fallback;
  if (!value->is_string()) return fail_type(key, *value, "a string"), fallback;
  return value->get<std::string>();
}

void ConfigFields::require(const std::string& key) {
  if (find(key) == nullptr) fail(key, "is missing");
}

void ConfigFields::fail(const std::string& key, const std::string& what) {
  if (!error) error = Error{prefix_ + key + " " + what, place_of(key)};
}

void ConfigFields::fail_type(const std::string& key, const json& value,
                             const std::string& expected) {
  fail(key, "is " + shown_value(value) + "; it must be " + expected);
}

std::string ConfigFields::shown_value(const json& value) {
  if (value.is_object()) return "an object";
  if (value.is_array()) return "a list";
  return value.dump(-1, ' ', false, json::error_handler_t::replace).substr(0, 80);
}

std::string ConfigFields::place_of(const std::string& key) const {
  const std::string name = "\"" + key + "\"";
  for (std::size_t at = text_.find(name); at != std::string::npos; at = text_.find(name, at + 1)) {
    const std::size_t next = text_.find_first_not_of(" \t\r\n", at + name.size());
    if (next != std::string::npos && text_[next] == ':') {
      return JsonPlace{place_, std::nullopt}.at(text_, at);
    }
  }
  return place_;
}

void read_kv_heads(ConfigFields& fields, std::int64_t absent, ModelConfig& config) {
  const char* key = "num_key_value_heads";
  config.kv_heads = fields.integer_or(key, fields.has(key) ? config.heads : absent);
}

void read_head_dim(ConfigFields& fields, ModelConfig& config) {
  const bool divides = config.heads > 0 && config.hidden_size % config.heads == 0;
  if (fields.find("head_dim") == nullptr && !divides) {
    fields.fail("head_dim", "is missing and hidden_size (" + std::to_string(config.hidden_size) +
                                ") is no multiple of num_attention_heads (" +
                                std::to_string(config.heads) + ")");
  }
  config.head_dim = fields.integer_or("head_dim", divides ? config.hidden_size / config.heads : 0);
}

void require_uniform_layers(ConfigFields& fields, const ModelConfig& config) {
  const json* kinds = fields.find("layer_types");
  if (kinds == nullptr) return;
  const char* expected = config.sliding_window > 0 ? "sliding_attention" : "full_attention";
  const bool uniform =
      kinds->is_array() &&
      std::all_of(kinds->begin(), kinds->end(), [&](const json& k) { return k == expected; });
  if (!uniform) {
    fields.fail("layer_types", "must be null or \"" + std::string(expected) + "\" for every layer");
  }
}

namespace {

/// Which layers slide, as "layer_types" says or, without it, as `usual` does.
std::vector<bool> sliding_layers(ConfigFields& fields, const ModelConfig& config,
                                 const std::function<bool(std::int64_t layer)>& usual) {
  std::vector<bool> out;
  const json* kinds = fields.find("layer_types");
  if (kinds != nullptr && (!kinds->is_array() || std::int64_t(kinds->size()) != config.layers)) {
    fields.fail("layer_types", "must be null or a list of one kind for each of the " +
                                   std::to_string(config.layers) + " layers");
    return out;
  }
  for (std::int64_t i = 0; i < std::min(config.layers, kMostLayers); ++i) {
    bool slides = config.sliding_window > 0 && usual(i);
    if (kinds != nullptr) {
      const json& kind = (*kinds)[std::size_t(i)];
      slides = kind == "sliding_attention";
      if (!slides && kind != "full_attention") {
        fields.fail("layer_types", "has " + ConfigFields::shown_value(kind) +
                                       "; known: full_attention, sliding_attention");
      }
      if (slides && config.sliding_window == 0) {
        fields.fail("layer_types", "has sliding_attention, but the config gives no window");
      }
    }
    out.push_back(slides);
  }
  return out;
}

void keep_sliding(const std::vector<bool>& slides, ModelConfig& config) {
  const auto sliding = std::count(slides.begin(), slides.end(), true);
  if (sliding == 0) config.sliding_window = 0;
  if (sliding > 0 && sliding < config.layers) config.slides = slides;
}

}  // namespace

std::int64_t read_window(ConfigFields& fields, std::int64_t absent) {
  const char* key = "sliding_window";
  const std::int64_t window = fields.integer_or(key, fields.has(key) ? 0 : absent);
  if (fields.find(key) != nullptr && window < 1) fields.fail(key, "must be null or at least 1");
  return window;
}

void read_used_windows(ConfigFields& fields, std::int64_t absent,
                       const std::function<bool(std::int64_t layer)>& usual, ModelConfig& config) {
  if (fields.boolean_or("use_sliding_window", false)) {
    config.sliding_window = read_window(fields, absent);
  } else {
    fields.integer_or("sliding_window", 0);  // its type is strict all the same
  }
  keep_sliding(sliding_layers(fields, config, usual), config);
}

void read_late_windows(ConfigFields& fields, ModelConfig& config) {
  const std::int64_t first = fields.integer_or("max_window_layers", 28);
  read_used_windows(
      fields, 4096, [&](std::int64_t i) { return i >= first; }, config);
}

void read_windows(ConfigFields& fields, std::int64_t absent, std::int64_t every,
                  ModelConfig& config) {
  config.sliding_window = read_window(fields, absent);
  if (every < 1) return fields.fail("sliding_window_pattern", "must be at least 1");
  const auto usual = [&](std::int64_t i) { return (i + 1) % every != 0; };
  keep_sliding(sliding_layers(fields, config, usual), config);
}

void slide_except_every(std::int64_t every, ModelConfig& config) {
  if (every < 1) every = kMostLayers + 1;  // none is left out
  std::vector<bool> slides;
  for (std::int64_t i = 0; i < std::min(config.layers, kMostLayers); ++i) {
    slides.push_back(config.sliding_window > 0 && (i + 1) % every != 0);
  }
  keep_sliding(slides, config);
}

void read_gemma(ConfigFields& fields, ModelConfig& config) {
  read_kv_heads(fields, 4, config);
  config.head_dim = fields.integer_or("head_dim", 256);
  config.attention_bias = fields.boolean_or("attention_bias", false);
  config.tied_embeddings = fields.boolean_or("tie_word_embeddings", true);
  config.query_scale = fields.number_or("query_pre_attn_scalar", 256.0);
  if (!(config.query_scale > 0.0)) fields.fail("query_pre_attn_scalar", "must be above 0");
  if (fields.boolean_or("use_bidirectional_attention", false)) {
    fields.fail("use_bidirectional_attention", "is true; only causal attention is supported");
  }
  const std::string activation =
      fields.string_or("hidden_activation", fields.string_or("hidden_act", "gelu_pytorch_tanh"));
  if (activation != "gelu_pytorch_tanh" && activation != "gelu_new") {
    fields.fail("hidden_activation", shown(activation) + " is not supported (gelu_pytorch_tanh)");
  }
}

double read_softcap(ConfigFields& fields, const std::string& key, double absent) {
  const double cap = fields.number_or(key, fields.has(key) ? 0.0 : absent);
  if (fields.find(key) != nullptr && !(cap > 0.0)) fields.fail(key, "must be null or above 0");
  return cap;
}

}  // namespace isobit
