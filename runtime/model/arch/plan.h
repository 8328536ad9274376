// What one layer of the forward pass does, beyond what every layer does.
//
// A family's file gives one plan a layer (architecture.h); the forward pass reads it and knows no
// family. What a later family does differently (soft caps, another norm's place, experts, a RoPE
// of its own) becomes a field here when the forward pass does it. Callers: runtime/model.
#pragma once

#include <cstdint>

namespace isobit {

struct LayerPlan {
  std::int64_t window = 0;  // positions that a query sees, its own included; 0: all before it
  bool qk_norm = false;     // RMSNorm of every head of q and k, before RoPE
  std::int8_t rope = 0;     // of ModelConfig::ropes; -1: no RoPE
  bool operator==(const LayerPlan&) const = default;
};

}  // namespace isobit
