// Typed access to one JSON object of a config.json, and what several families read alike.
//
// Types are strict and defaults are transformers' own. The first problem is kept, with the place of
// its key; later reads give their fallback. Callers: config_hf.cc and the families of model/arch.
#pragma once

#include <cstdint>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "runtime/base/result.h"
#include "runtime/model/config.h"

namespace isobit {

class ConfigFields {
 public:
  /// `prefix`: path of the object, "" or "rope_scaling.". REQUIRES: what is given outlives this.
  ConfigFields(const nlohmann::json& object, std::string prefix, const std::string& text,
               const std::string& place)
      : object_(object), prefix_(std::move(prefix)), text_(text), place_(place) {}

  /// nullptr when the key is absent or null.
  [[nodiscard]] const nlohmann::json* find(const std::string& key) const;
  /// Whether the key is there, null or not.
  [[nodiscard]] bool has(const std::string& key) const;

  std::int64_t integer(const std::string& key);
  std::int64_t integer_or(const std::string& key, std::int64_t fallback);
  double number(const std::string& key);
  double number_or(const std::string& key, double fallback);
  bool boolean_or(const std::string& key, bool fallback);
  std::vector<std::int64_t> integers_or(const std::string& key, std::vector<std::int64_t> fallback);
  std::string string_or(const std::string& key, const std::string& fallback);

  void require(const std::string& key);
  /// "key what", at the place where the key is written.
  void fail(const std::string& key, const std::string& what);
  void fail_type(const std::string& key, const nlohmann::json& value, const std::string& expected);
  static std::string shown_value(const nlohmann::json& value);

  /// Fields of an object below this one, by its path from here.
  [[nodiscard]] ConfigFields inside(const std::string& path, const nlohmann::json& object) const {
    return {object, prefix_ + path + ".", text_, place_};
  }
  [[nodiscard]] std::string path_of(const std::string& key) const { return prefix_ + key; }
  /// Keeps the other's problem, unless there is one already.
  void take_error(const ConfigFields& other) {
    if (!error) error = other.error;
  }

  std::optional<Error> error;
  [[nodiscard]] const nlohmann::json& object() const { return object_; }

 private:
  /// The line of the first `"key":`; the file alone when the key is absent or written in escapes.
  [[nodiscard]] std::string place_of(const std::string& key) const;

  const nlohmann::json& object_;
  std::string prefix_;
  const std::string& text_;
  const std::string& place_;
};

/// num_key_value_heads: `absent` without the key, as many as query heads when it is null.
void read_kv_heads(ConfigFields& fields, std::int64_t absent, ModelConfig& config);
/// head_dim, or hidden_size / num_attention_heads.
void read_head_dim(ConfigFields& fields, ModelConfig& config);
/// "layer_types" of a family whose layers all slide, or none.
void require_uniform_layers(ConfigFields& fields, const ModelConfig& config);
/// "sliding_window": `absent` without the key, 0 when it is null.
std::int64_t read_window(ConfigFields& fields, std::int64_t absent);
/// "use_sliding_window", "sliding_window", "max_window_layers" and "layer_types": the layers from
/// max_window_layers on slide unless a list says which.
void read_late_windows(ConfigFields& fields, ModelConfig& config);
/// "use_sliding_window", "sliding_window" and "layer_types": `usual` layers slide unless a list
/// says which. `absent`: the window without its key.
void read_used_windows(ConfigFields& fields, std::int64_t absent,
                       const std::function<bool(std::int64_t layer)>& usual, ModelConfig& config);
/// "sliding_window" and "layer_types": all layers but every `every`-th slide unless a list says
/// which. `absent`: the window without its key.
void read_windows(ConfigFields& fields, std::int64_t absent, std::int64_t every,
                  ModelConfig& config);
/// The layers of a window that slide, when a file does not say which: all but every `every`-th.
void slide_except_every(std::int64_t every, ModelConfig& config);
/// What Gemma's generations say alike: heads, biases, the scale of scores, the activation.
void read_gemma(ConfigFields& fields, ModelConfig& config);
/// A soft cap: `absent` without the key, 0 for null.
double read_softcap(ConfigFields& fields, const std::string& key, double absent);

/// All of RoPE, of as many as config.ropes has (config_rope.cc); then head_dim and the context must
/// be known. A context that RoPE stretches is set to what it reaches.
void read_ropes(ConfigFields& fields, ModelConfig& config);

}  // namespace isobit
