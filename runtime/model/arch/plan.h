// What one layer of the forward pass does, beyond what every layer does.
//
// A family's file gives one plan a layer (architecture.h); the forward pass reads it and knows no
// family. What a later family does differently becomes a field here when the forward pass does it.
// Callers: runtime/model.
#pragma once

#include <cstdint>

#include "runtime/numerics/activation.h"

namespace isobit {

/// RMSNorm of q and k, before RoPE: of every head by itself, or of a row with all its heads.
enum class QkNorm : std::uint8_t { none, head, row };

/// Where a layer normalises: the input of attention and MLP, their output before it is added, both.
enum class NormPlace : std::uint8_t { input, output, both };

struct LayerPlan {
  std::int64_t window = 0;  // positions that a query sees, its own included; 0: all before it
  QkNorm qk_norm = QkNorm::none;
  NormPlace norms = NormPlace::input;
  Activation activation = Activation::silu;
  std::int8_t rope = 0;  // of ModelConfig::ropes; -1: q and k are not turned
  bool gated = true;     // MLP: down(f(gate(x)) * up(x)); else down(f(up(x)))
  bool routed = false;   // the MLP is a sum of a few experts
  bool operator==(const LayerPlan&) const = default;

  [[nodiscard]] bool normalises_input() const { return norms != NormPlace::output; }
  [[nodiscard]] bool normalises_output() const { return norms != NormPlace::input; }
};

}  // namespace isobit
