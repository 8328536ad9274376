// RoPE as a config.json of Hugging Face transformers tells it (see config_fields.h).
//
// Read are "rope_parameters", or the older "rope_scaling" with "rope_theta". Keys that a kind does
// not use are passed over, as transformers does with a warning. A family that has two RoPEs says so
// before by two entries of ModelConfig::ropes: that of full_attention, then of sliding_attention.
#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>

#include "runtime/checkpoint/config_fields.h"
#include "runtime/checkpoint/json.h"
#include "runtime/model/arch/architecture.h"
#include "runtime/numerics/functions.h"

namespace isobit {
namespace {

using nlohmann::json;
using Kind = RopeScaling::Kind;

constexpr std::int64_t kMostContext = std::int64_t{1} << 27;
constexpr const char* kOriginal = "original_max_position_embeddings";

/// Phi-3 turns a part of a head, calls longrope "su" and "yarn" too, and keeps the original context
/// outside of the RoPE's own object.
bool is_phi3(const ModelConfig& config) {
  return find_architecture(config.architecture)->rope_words == RopeWords::phi3;
}

std::vector<float> numbers(ConfigFields& fields, const std::string& key) {
  fields.require(key);
  const json* list = fields.find(key);
  if (list == nullptr) return {};
  const auto fits = [](const json& value) {
    return value.is_number() && value.get<double>() < 1e30 && value.get<double>() > -1e30;
  };
  if (!list->is_array() || !std::all_of(list->begin(), list->end(), fits)) {
    return fields.fail_type(key, *list, "a list of fp32 numbers"), std::vector<float>{};
  }
  return list->get<std::vector<float>>();
}

/// The positions that the model was trained with, before they were stretched.
std::int64_t original_context(ConfigFields& top, ConfigFields& rope, const ModelConfig& config) {
  const std::int64_t otherwise = is_phi3(config) ? 4096 : config.context;
  const bool outside = top.find(kOriginal) != nullptr;
  const std::int64_t inner = rope.integer_or(kOriginal, otherwise);
  const std::int64_t chosen =
      outside || is_phi3(config) ? top.integer_or(kOriginal, otherwise) : inner;
  if (rope.find(kOriginal) != nullptr && inner != chosen) {
    rope.fail(kOriginal,
              "is " + std::to_string(inner) + " and outside of it " + std::to_string(chosen));
  }
  return chosen;
}

/// A number that transformers replaces when it is absent, null or 0.
double number_unless_zero(ConfigFields& fields, const std::string& key, double otherwise) {
  const double value = fields.number_or(key, otherwise);
  return value == 0.0 ? otherwise : value;
}

double yarn_scale(double factor, double mscale) {
  return factor <= 1.0 ? 1.0 : (0.1 * mscale) * log_(factor) + 1.0;
}

void read_yarn(ConfigFields& rope, const ModelConfig& config, RopeScaling& scaling) {
  scaling.factor =
      rope.number_or("factor", double(config.context) / double(scaling.original_context));
  scaling.beta_fast = number_unless_zero(rope, "beta_fast", 32.0);
  scaling.beta_slow = number_unless_zero(rope, "beta_slow", 1.0);
  scaling.truncate = rope.boolean_or("truncate", true);
  const double scale = rope.number_or("mscale", 0.0);
  const double all_dims = rope.number_or("mscale_all_dim", 0.0);
  double attention = yarn_scale(scaling.factor, 1.0);
  if (scale != 0.0 && all_dims != 0.0) {
    attention = yarn_scale(scaling.factor, scale) / yarn_scale(scaling.factor, all_dims);
  }
  scaling.attention_factor = rope.number_or("attention_factor", attention);
}

void read_longrope(ConfigFields& rope, const ModelConfig& config, Rope& out) {
  RopeScaling& scaling = out.scaling;
  const double original = double(scaling.original_context);
  const double factor = rope.number_or("factor", double(config.context) / original);
  const double attention = factor <= 1.0 ? 1.0 : sqrt_(1.0 + log_(factor) / log_(original));
  scaling.attention_factor = rope.number_or("attention_factor", attention);
  out.factors = numbers(rope, "short_factor");
  out.long_factors = numbers(rope, "long_factor");
}

void read_dims(ConfigFields& top, ConfigFields& rope, const ModelConfig& config, Rope& out) {
  const char* key = "partial_rotary_factor";
  const bool inner = rope.find(key) != nullptr;
  ConfigFields& fields = inner ? rope : top;
  const double part = fields.number_or(key, 1.0);
  if (part == 1.0) return;
  if (!is_phi3(config)) {
    fields.fail(key, "= " + ConfigFields::shown_value(*fields.find(key)) +
                         " changes the arithmetic and is not supported");
  } else if (!(part > 0.0 && part < 1.0)) {
    fields.fail_type(key, *fields.find(key), "above 0 and at most 1");
  } else {
    out.dims = std::int64_t(double(config.head_dim) * part);
    if (out.dims < 2) fields.fail(key, "leaves no dims of a head to turn");
  }
}

void read_kind(ConfigFields& top, ConfigFields& rope, ModelConfig& config, Rope& out) {
  std::string type = rope.string_or("rope_type", rope.string_or("type", "default"));
  if (rope.find("rope_type") != nullptr && rope.find("type") != nullptr &&
      rope.string_or("type", "") != type) {
    rope.fail("type", "and rope_type differ");
  }
  if (is_phi3(config) && (type == "su" || type == "yarn")) type = "longrope";
  RopeScaling& scaling = out.scaling;
  if (type == "linear") {
    scaling.kind = Kind::linear;
    scaling.factor = rope.number("factor");
  } else if (type == "dynamic") {
    scaling.kind = Kind::dynamic;
    scaling.factor = rope.number("factor");
    scaling.original_context = config.context;
  } else if (type == "llama3") {
    scaling.kind = Kind::llama3;
    scaling.factor = rope.number("factor");
    scaling.low_freq_factor = rope.number("low_freq_factor");
    scaling.high_freq_factor = rope.number("high_freq_factor");
    scaling.original_context = original_context(top, rope, config);
  } else if (type == "yarn") {
    scaling.kind = Kind::yarn;
    scaling.original_context = original_context(top, rope, config);
    read_yarn(rope, config, scaling);
  } else if (type == "longrope") {
    scaling.kind = Kind::longrope;
    scaling.original_context = original_context(top, rope, config);
    read_longrope(rope, config, out);
  } else if (type != "default") {
    rope.fail(rope.find("rope_type") != nullptr ? "rope_type" : "type",
              shown(type) + " is not supported (default, linear, dynamic, llama3, yarn, longrope)");
  }
}

/// One RoPE from its object. `base_key`: where an older file has its base, outside of the object.
void read_rope(ConfigFields& top, const std::string& base_key, ConfigFields& rope,
               ModelConfig& config, Rope& out) {
  const double outside = top.number_or(base_key, out.base);
  out.base = rope.number_or("rope_theta", outside);
  if (top.find(base_key) != nullptr && out.base != outside) {
    top.fail(base_key, "differs from " + rope.path_of("rope_theta"));
  }
  read_kind(top, rope, config, out);
  read_dims(top, rope, config, out);
  top.take_error(rope);
}

/// The object under a key, or null.
const json* object_of(ConfigFields& fields, const std::string& key) {
  const json* value = fields.find(key);
  if (value == nullptr || value->is_object()) return value;
  fields.fail_type(key, *value, "an object or null");
  return nullptr;
}

}  // namespace

void read_ropes(ConfigFields& fields, ModelConfig& config) {
  static const json kNothing = json::object();
  const char* kinds[] = {"full_attention", "sliding_attention"};
  const char* bases[] = {"rope_theta", "rope_local_base_freq"};
  const json* scaling = fields.find("rope_scaling");
  const json* parameters = fields.find("rope_parameters");
  if (scaling != nullptr && parameters != nullptr && *scaling != *parameters) {
    return fields.fail("rope_scaling", "and rope_parameters are both given and differ");
  }
  const std::string key = parameters != nullptr ? "rope_parameters" : "rope_scaling";
  const json* chosen = object_of(fields, key);
  ConfigFields outer = fields.inside(key, chosen != nullptr ? *chosen : kNothing);
  const bool two = config.ropes.size() > 1;
  for (const char* kind : kinds) {
    if (!two && outer.find(kind) != nullptr) {
      outer.fail(kind, "is not supported: the layers of this architecture have one RoPE");
    }
  }
  if (two && parameters != nullptr && !outer.object().empty() && !outer.has(kinds[0]) &&
      !outer.has(kinds[1])) {
    outer.fail(kinds[0], "is missing: the layers of this architecture have two RoPEs");
  }
  fields.take_error(outer);
  for (std::size_t i = 0; i < config.ropes.size(); ++i) {
    const json* object = two && parameters != nullptr ? object_of(outer, kinds[i]) : chosen;
    if (i > 0 && parameters == nullptr) object = nullptr;  // rope_scaling is of the first alone
    fields.take_error(outer);
    const std::string path = two && parameters != nullptr ? key + "." + kinds[i] : key;
    ConfigFields rope = fields.inside(path, object != nullptr ? *object : kNothing);
    read_rope(fields, bases[i], rope, config, config.ropes[i]);
  }
  for (const Rope& rope : config.ropes) {  // made for longer texts than max_position_embeddings
    if (rope.scaling.kind != Kind::dynamic || fields.error) continue;
    const double longest = double(rope.scaling.original_context) * rope.scaling.factor;
    if (longest >= 1.0) {
      config.context = longest < double(kMostContext) ? std::int64_t(longest) : kMostContext;
    }
  }
}

}  // namespace isobit
