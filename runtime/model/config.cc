// The limits of a model's shape (see runtime/model/config.h).
//
// The upper limits are far above any published model and low enough that every product of two of
// them, times eight bytes, fits 64 bits: nothing behind validate() can overflow.
#include "runtime/model/config.h"

#include <cmath>
#include <string>

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
  if (!c.slides.empty() && std::int64_t(c.slides.size()) != c.layers) {
    return outside("the number of sliding layers", std::to_string(c.slides.size()),
                   "num_hidden_layers (" + std::to_string(c.layers) + ")");
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
  if (!(c.rope_theta > 1.0 && c.rope_theta < 1e15)) {
    return outside("rope_theta", text_of(c.rope_theta), "above 1 and below 1e15");
  }
  const RopeScaling& rope = c.rope_scaling;
  if (!(rope.factor >= 1.0 && rope.factor < 1e6)) {
    return outside("rope_scaling.factor", text_of(rope.factor), "at least 1 and below 1e6");
  }
  if (rope.kind == RopeScaling::Kind::llama3) {
    if (!(rope.low_freq_factor >= 1e-6 && rope.low_freq_factor < rope.high_freq_factor &&
          rope.high_freq_factor < 1e6)) {
      return outside(
          "rope_scaling.low_freq_factor", text_of(rope.low_freq_factor),
          "at least 1e-6 and below high_freq_factor (" + text_of(rope.high_freq_factor) + ")");
    }
    if (rope.original_context < 1 || rope.original_context > (std::int64_t{1} << 27)) {
      return outside("rope_scaling.original_max_position_embeddings",
                     std::to_string(rope.original_context), "from 1 to 134217728");
    }
  }
  if (!c.rope_factors.empty() &&
      static_cast<std::int64_t>(c.rope_factors.size()) != c.head_dim / 2) {
    return outside("the number of rope_freqs", std::to_string(c.rope_factors.size()),
                   "head_dim / 2 (" + std::to_string(c.head_dim / 2) + ")");
  }
  for (const float factor : c.rope_factors) {
    if (!(factor >= 1e-6F && factor <= 1e9F)) {  // what a frequency divided by stays finite
      return outside("a rope_freqs value", text_of(static_cast<double>(factor)),
                     "from 1e-6 to 1e9");
    }
  }
  return {};
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
  return check_numbers(*this);
}

}  // namespace isobit
