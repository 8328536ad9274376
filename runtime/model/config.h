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
  enum class Kind { none, linear, dynamic, llama3, yarn, longrope };
  Kind kind = Kind::none;
  double factor = 1.0;
  double low_freq_factor = 1.0;  // llama3
  double high_freq_factor = 4.0;
  double beta_fast = 32.0;  // yarn
  double beta_slow = 1.0;
  bool truncate = true;
  double attention_factor = 1.0;         // of cosine and sine; yarn, longrope
  std::int64_t original_context = 8192;  // not of linear
  bool operator==(const RopeScaling&) const = default;
};

/// One RoPE of a model; its layers may have different ones.
struct Rope {
  double base = 10000.0;
  std::int64_t dims = 0;  // of a head, from its first one, even; 0: all
  RopeScaling scaling;
  std::vector<float> factors;       // divide the frequencies; empty or dims / 2
  std::vector<float> long_factors;  // longrope: those past the original context
  bool operator==(const Rope&) const = default;
};

/// How a checkpoint's 8-bit weights are scaled (quantization_config of config.json).
struct WeightScales {
  enum class Kind { none, tensor, channel, block };
  Kind kind = Kind::none;
  std::int64_t block_rows = 0, block_cols = 0;  // of kind block
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
  double query_scale = 0;           // scores are divided by its root; 0: by that of head_dim
  double attention_softcap = 0;     // of scores; 0: none
  double logit_softcap = 0;         // 0: none
  std::int64_t experts = 0;         // of a routed layer; 0: no layer is routed
  std::int64_t experts_used = 0;    // of these, by each token
  std::int64_t expert_size = 0;     // width of an expert's MLP
  bool experts_sum_to_one = true;   // the weights of those used, else the weights of all
  std::vector<bool> routed;         // by layer; empty: every layer, where there are experts
  double rms_norm_eps = 1e-5;
  std::vector<Rope> ropes{Rope{}};  // at least one; LayerPlan::rope chooses
  std::vector<bool> rotating;       // by layer: RoPE turns q and k; empty: in every layer
  bool tied_embeddings = false;     // lm_head is the embedding
  bool attention_bias = false;      // config.json's flags; a GGUF tells by its tensors
  bool mlp_bias = false;
  WeightScales weight_scales;
  std::int32_t bos_token = -1;  // -1: none; may be beyond the vocabulary, where no prompt uses it
  std::vector<std::int32_t> eos_tokens;  // likewise
  std::vector<std::string> eos_origins;  // by eos token: what file or key it is from
  bool stop_set_is_whole = false;        // the tokenizer's EOS adds nothing to it

  /// Positions that a query of this layer sees; 0: all before it.
  [[nodiscard]] std::int64_t window(std::int64_t layer) const {
    return slides.empty() || slides[std::size_t(layer)] ? sliding_window : 0;
  }
  [[nodiscard]] bool rotates(std::int64_t layer) const {
    return rotating.empty() || rotating[std::size_t(layer)];
  }
  [[nodiscard]] bool is_routed(std::int64_t layer) const {
    return experts > 0 && (routed.empty() || routed[std::size_t(layer)]);
  }
  /// The dims of a head that a RoPE turns.
  [[nodiscard]] std::int64_t rotary_dims(const Rope& rope) const {
    return rope.dims == 0 ? head_dim : rope.dims;
  }
  /// Refuses shapes that the forward pass cannot run, naming the field.
  [[nodiscard]] Result<void> validate() const;
};

/// Parses the text of a Hugging Face config.json. `place` names the file in errors.
/// Unknown architectures and features that change the arithmetic are refused by name.
Result<ModelConfig> parse_hf_config(const std::string& json, const std::string& place);

}  // namespace isobit
