// The shape of a decoder-only transformer, read from config.json or GGUF metadata.
//
// One struct serves every family of the architecture table (arch/architecture.h). Loaders fill it
// and call validate(); the forward pass trusts it. Field meaning follows Hugging Face transformers.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/base/result.h"

namespace isobit {

/// RoPE frequency scaling. `factor` 1 and kind none: plain RoPE.
struct RopeScaling {
  enum class Kind { none, linear, llama3 };
  Kind kind = Kind::none;
  double factor = 1.0;
  double low_freq_factor = 1.0;
  double high_freq_factor = 4.0;
  std::int64_t original_context = 8192;
};

inline constexpr std::int64_t kMostLayers = 4096;

struct ModelConfig {
  std::string architecture;  // a name of the architecture table
  std::string name;          // for people only
  std::int64_t vocab_size = 0;
  std::int64_t hidden_size = 0;        // width of the residual stream
  std::int64_t intermediate_size = 0;  // width of the gated MLP
  std::int64_t layers = 0;
  std::int64_t heads = 0;           // query heads
  std::int64_t kv_heads = 0;        // divides heads
  std::int64_t head_dim = 0;        // even, a multiple of 8
  std::int64_t context = 0;         // largest number of positions
  std::int64_t sliding_window = 0;  // 0: full causal attention
  std::vector<bool> slides;         // by layer; empty: every layer, where there is a window
  std::int64_t segments = 8;        // V of NUMERICS.md; 8, 16 or 32
  double rms_norm_eps = 1e-5;
  double rope_theta = 10000.0;
  RopeScaling rope_scaling;
  std::vector<float> rope_factors;  // divides inv_freq; empty or head_dim/2 (GGUF rope_freqs)
  bool tied_embeddings = false;     // lm_head is the embedding
  bool attention_bias = false;      // config.json's flags; a GGUF tells by its tensors
  bool mlp_bias = false;
  std::int32_t bos_token = -1;  // -1: none; may be beyond the vocabulary, where no prompt uses it
  std::vector<std::int32_t> eos_tokens;  // likewise
  std::vector<std::string> eos_origins;  // by eos token: what file or key it is from
  bool stop_set_is_whole = false;        // the tokenizer's EOS adds nothing to it

  /// Positions that a query of this layer sees; 0: all before it.
  [[nodiscard]] std::int64_t window(std::int64_t layer) const {
    return slides.empty() || slides[std::size_t(layer)] ? sliding_window : 0;
  }
  /// Refuses shapes that the forward pass cannot run, naming the field.
  [[nodiscard]] Result<void> validate() const;
};

/// Parses the text of a Hugging Face config.json. `place` names the file in errors.
/// Unknown architectures and features that change the arithmetic are refused by name.
Result<ModelConfig> parse_hf_config(const std::string& json, const std::string& place);

}  // namespace isobit
