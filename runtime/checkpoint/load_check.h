// Which tensors a config needs, and whether a model has them. Called by load_model and tests.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/base/result.h"
#include "runtime/checkpoint/weights.h"

namespace isobit {

struct NeededTensor {
  std::string name;
  std::vector<std::int64_t> shape;  // outermost first
};

/// Every tensor that the forward pass reads. REQUIRES: a valid config.
std::vector<NeededTensor> needed_tensors(const ModelConfig& config);

/// Refuses a missing tensor or a wrong shape, with both shapes. Extra tensors are allowed.
Result<void> check_tensors(const ModelConfig& config, const Weights& weights,
                           const std::string& place);

}  // namespace isobit
