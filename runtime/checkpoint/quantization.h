// 8-bit weights with scales, as public FP8 checkpoints store them: which quantization_config is
// understood, and which scale belongs to which element.
//
// Promise: an element's value is its code, widened, times its scale, widened: one fp32 product, as
// transformers dequantises. Everything else of a quantization_config is refused by name.
// Activations stay as they are; what a checkpoint says of theirs is known to be unused.
// Called by config_hf.cc and load.cc.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "runtime/base/result.h"
#include "runtime/checkpoint/config_fields.h"
#include "runtime/checkpoint/weights.h"

namespace isobit {

/// Reads "quantization_config" when the config has one: compressed-tensors' "float-quantized" (a
/// scale per tensor, channel or block) and "fp8" (per block, or per tensor without a block size).
std::optional<Error> read_quantization(const ConfigFields& fields, const std::string& text,
                                       const std::string& place, ModelConfig& config);

/// Gives every 8-bit weight its scales and takes the scale tensors away; names of scales of
/// activations go to `unused`. Errors: a scale that is missing, or is not of the kind that the
/// config names.
Result<void> apply_weight_scales(const WeightScales& scheme, const std::string& place,
                                 Weights& weights, std::vector<std::string>& unused);

}  // namespace isobit
