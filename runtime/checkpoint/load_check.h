// Whether a model's tensors are those of its family's table: none missing, none misshapen, none
// that nothing would read; and which file of several has which. Called by load_model and tests.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "runtime/base/result.h"
#include "runtime/checkpoint/weights.h"

namespace isobit {

/// What decides which biases a model has: config.json's flags, or, as in a GGUF, each bias that is
/// there.
enum class Biases : std::uint8_t { flagged, stored };

/// Refuses, by name and with the shapes, a tensor that is missing, has another shape than the
/// config gives it or a type that is no number, or is read by no operation. A few names are known
/// to be left over and are allowed.
Result<void> check_tensors(const ModelConfig& config, Biases biases, const Weights& weights,
                           const std::string& place);
/// What it says of a tensor that is missing, or that has another shape; for fused.cc too.
Error missing_tensor(const std::string& name, const std::vector<std::int64_t>& shape,
                     const std::string& place);
Error wrong_shape(const Tensor& tensor, const std::vector<std::int64_t>& needed,
                  const std::string& place);
/// The names that are known to be left over.
std::vector<std::string> left_over_tensors(const Weights& weights);

/// weight_map of a model.safetensors.index.json: tensor name -> file name inside the folder.
Result<std::map<std::string, std::string>> parse_shard_index(const std::string& text,
                                                             const std::string& place);

}  // namespace isobit
