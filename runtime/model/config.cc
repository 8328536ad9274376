// The limits of a model's shape (see runtime/model/config.h).
//
// The upper limits are far above any published model and low enough that every product of two of
// them, times eight bytes, fits 64 bits: nothing behind validate() can overflow.
#include "runtime/model/config.h"

#include <cmath>
#include <string>
#include <utility>

#include "runtime/model/arch/architecture.h"

namespace isobit {
namespace {

struct Limit {
  const char* name;
  std::int64_t value;
  std::int64_t low;
  std::int64_t high;
};

Error outside(const char* name, const std::string& value, const std::string& rule) {
  return Error{std::string(name) + " is " + value + "; it must be " + rule, ""};
}

std::string text_of(double value) {
  char buffer[40];
  std::snprintf(buffer, sizeof buffer, "%.17g", value);
  return buffer;
}

Result<void> check_sizes(const ModelConfig& c) {
  const Limit limits[] = {
      {"vocab_size", c.vocab_size, 1, std::int64_t{1} << 24},
      {"hidden_size", c.hidden_size, 1, std::int64_t{1} << 20},
      {"intermediate_size", c.intermediate_size, 1, std::int64_t{1} << 22},
      {"num_hidden_layers", c.layers, 1, kMostLayers},
      {"num_attention_heads", c.heads, 1, 4096},
      {"num_key_value_heads", c.kv_heads, 1, 4096},
      {"head_dim", c.head_dim, 8, 256},
      {"max_position_embeddings", c.context, 1, std::int64_t{1} << 27},
      {"sliding_window", c.sliding_window, 0, std::int64_t{1} << 27},
      {"the number of experts", c.experts, 0, 1024},
      {"num_experts_per_tok", c.experts_used, c.experts > 0, c.experts},
      {"the width of an expert", c.expert_size, c.experts > 0, std::int64_t{1} << 22},
  };
  for (const Limit& limit : limits) {
    if (limit.value < limit.low || limit.value > limit.high) {
      return outside(limit.name, std::to_string(limit.value),
                     "from " + std::to_string(limit.low) + " to " + std::to_string(limit.high));
    }
  }
  if (c.heads % c.kv_heads != 0) {
    return outside("num_key_value_heads", std::to_string(c.kv_heads),
                   "a divisor of num_attention_heads (" + std::to_string(c.heads) + ")");
  }
  for (const auto& [what, flags] : {std::pair{"the number of sliding layers", &c.slides},
                                    std::pair{"the number of rotating layers", &c.rotating},
                                    std::pair{"the number of routed layers", &c.routed}}) {
    if (flags->empty() || std::int64_t(flags->size()) == c.layers) continue;
    return outside(what, std::to_string(flags->size()),
                   "num_hidden_layers (" + std::to_string(c.layers) + ")");
  }
  if (c.experts * c.layers > (std::int64_t{1} << 17)) {
    return outside("the number of experts", std::to_string(c.experts),
                   "so many that all layers have at most 131072");
  }
  if (c.head_dim % 8 != 0)
    return outside("head_dim", std::to_string(c.head_dim), "a multiple of 8");
  if (c.segments != 8 && c.segments != 16 && c.segments != 32) {
    return outside("isobit_segments", std::to_string(c.segments), "8, 16 or 32");
  }
  return {};
}

Result<void> check_numbers(const ModelConfig& c) {
  constexpr double kLeastEps = 0x1p-126;  // the least that fp32 holds with all its bits
  if (!(c.rms_norm_eps >= kLeastEps && c.rms_norm_eps < 1.0)) {
    return outside("rms_norm_eps", text_of(c.rms_norm_eps), "at least 2^-126 and below 1");
  }
  if (c.query_scale != 0 && !(c.query_scale >= 1e-3 && c.query_scale < 1e9)) {
    return outside("query_pre_attn_scalar", text_of(c.query_scale), "from 0.001 to 1e9");
  }
  for (const auto& [name, cap] : {std::pair{"attn_logit_softcapping", c.attention_softcap},
                                  std::pair{"final_logit_softcapping", c.logit_softcap}}) {
    if (cap != 0 && !(cap >= 1e-3 && cap < 1e9)) {
      return outside(name, text_of(cap), "none, or from 0.001 to 1e9");
    }
  }
  return {};
}

Result<void> check_scaling(const RopeScaling& scaling) {
  if (!(scaling.factor >= 1.0 && scaling.factor < 1e6)) {
    return outside("rope_scaling.factor", text_of(scaling.factor), "at least 1 and below 1e6");
  }
  if (!(scaling.attention_factor > 0.0 && scaling.attention_factor < 1e6)) {
    return outside("rope_scaling.attention_factor", text_of(scaling.attention_factor),
                   "above 0 and below 1e6");
  }
  if (!(scaling.low_freq_factor >= 1e-6 && scaling.low_freq_factor < scaling.high_freq_factor &&
        scaling.high_freq_factor < 1e6)) {
    return outside(
        "rope_scaling.low_freq_factor", text_of(scaling.low_freq_factor),
        "at least 1e-6 and below high_freq_factor (" + text_of(scaling.high_freq_factor) + ")");
  }
  if (!(scaling.beta_slow > 0.0 && scaling.beta_slow <= scaling.beta_fast &&
        scaling.beta_fast < 1e6)) {
    return outside("rope_scaling.beta_slow", text_of(scaling.beta_slow),
                   "above 0 and at most beta_fast (" + text_of(scaling.beta_fast) + ")");
  }
  if (scaling.original_context < 1 || scaling.original_context > (std::int64_t{1} << 27)) {
    return outside("rope_scaling.original_max_position_embeddings",
                   std::to_string(scaling.original_context), "from 1 to 134217728");
  }
  return {};
}

/// Factors of frequencies. The angles stay below 2^30, where cosine and sine are defined.
Result<void> check_factors(const ModelConfig& c, const Rope& rope, const char* name,
                           const std::vector<float>& factors) {
  const auto half = c.rotary_dims(rope) / 2;
  if (std::int64_t(factors.size()) != half) {
    return outside(("the number of " + std::string(name)).c_str(), std::to_string(factors.size()),
                   (rope.dims == 0 ? "head_dim / 2 (" : "half the rotary dims (") +
                       std::to_string(half) + ")");
  }
  for (const float factor : factors) {
    const std::string each = "a " + std::string(name) + " value";
    if (!(factor >= 1e-6F && factor <= 1e9F)) {  // what a frequency divided by stays finite
      return outside(each.c_str(), text_of(double(factor)), "from 1e-6 to 1e9");
    }
    if (!(double(factor) * 0x1p+30 > double(c.context))) {
      return outside(each.c_str(), text_of(double(factor)), "larger for so many positions");
    }
  }
  return {};
}

Result<void> check_rope(const ModelConfig& c, const Rope& rope) {
  if (!(rope.base > 1.0 && rope.base < 1e15)) {
    return outside("rope_theta", text_of(rope.base), "above 1 and below 1e15");
  }
  const std::int64_t least = rope.scaling.kind == RopeScaling::Kind::dynamic ? 4 : 2;
  if (const std::int64_t dims = c.rotary_dims(rope);
      dims < least || dims > c.head_dim || dims % 2 != 0) {
    return outside("the number of rotary dims", std::to_string(dims),
                   "even and from " + std::to_string(least) + " to head_dim (" +
                       std::to_string(c.head_dim) + ")");
  }
  if (auto scaling = check_scaling(rope.scaling); !scaling) return scaling;
  const bool longrope = rope.scaling.kind == RopeScaling::Kind::longrope;
  if (longrope || !rope.factors.empty()) {
    const char* name = longrope ? "rope_scaling.short_factor" : "rope_freqs";
    if (auto factors = check_factors(c, rope, name, rope.factors); !factors) return factors;
  }
  if (!longrope) return {};
  return check_factors(c, rope, "rope_scaling.long_factor", rope.long_factors);
}

}  // namespace

Result<void> ModelConfig::validate() const {
  if (find_architecture(architecture) == nullptr) {
    return Error{"architecture \"" + architecture + "\" is not supported (" +
                     architecture_names([](const Architecture& a) { return a.name; }) + ")",
                 ""};
  }
  const Result<void> sizes = check_sizes(*this);
  ISOBIT_TRY(sizes);
  const Result<void> numbers = check_numbers(*this);
  ISOBIT_TRY(numbers);
  for (const Rope& rope : ropes) {
    const Result<void> good = check_rope(*this, rope);
    ISOBIT_TRY(good);
  }
  return {};
}

}  // namespace isobit
