// Implementation of runtime/checkpoint/config_fields.h.
#include "runtime/checkpoint/config_fields.h"

#include <algorithm>
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

/// Which layers slide, as "layer_types" says or, without it, those from `first` on.
std::vector<bool> sliding_layers(ConfigFields& fields, const ModelConfig& config,
                                 std::int64_t first) {
  std::vector<bool> out;
  const json* kinds = fields.find("layer_types");
  if (kinds != nullptr && (!kinds->is_array() || std::int64_t(kinds->size()) != config.layers)) {
    fields.fail("layer_types", "must be null or a list of one kind for each of the " +
                                   std::to_string(config.layers) + " layers");
    return out;
  }
  for (std::int64_t i = 0; i < std::min(config.layers, kMostLayers); ++i) {
    bool slides = config.sliding_window > 0 && i >= first;
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

}  // namespace

void read_late_windows(ConfigFields& fields, ModelConfig& config) {
  const bool used = fields.boolean_or("use_sliding_window", false);
  const bool unbounded = fields.has("sliding_window") && fields.find("sliding_window") == nullptr;
  const std::int64_t window = fields.integer_or("sliding_window", 4096);
  if (used && !unbounded) {
    if (window < 1) fields.fail("sliding_window", "must be null or at least 1");
    config.sliding_window = window;
  }
  const auto slides = sliding_layers(fields, config, fields.integer_or("max_window_layers", 28));
  const auto sliding = std::count(slides.begin(), slides.end(), true);
  if (sliding == 0) config.sliding_window = 0;
  if (sliding > 0 && sliding < config.layers) config.slides = slides;
}

}  // namespace isobit
