// A model's digest by what it computes with: the numbers, not the files.
//
// Promise: equal for the same weights in safetensors or GGUF, in one file or many, in any order,
// under either format's names, in any type that holds the numbers exactly; any changed number that
// enters the arithmetic changes it. Recipes and goldens do not use it (they have model_digest of
// models.h, of the files). Callers: `isobit model`, tests.
#pragma once

#include <map>
#include <string>

#include "runtime/base/result.h"
#include "runtime/checkpoint/weights.h"

namespace isobit {

struct ContentDigest {
  std::string model;                           // hex SHA-256
  std::map<std::string, std::string> tensors;  // by Hugging Face's name: hex SHA-256 of its values
};

/// SHA-256 of a text: a line for each number of the config that enters the arithmetic, then for
/// each tensor, sorted by name, its name, shape and the SHA-256 over its rows' SHA-256. A row is
/// its values as fp32, little-endian, a NaN as 7fc00000. An lm_head that equals the embedding, and
/// one that is tied to it, are not listed: whichever way a file says it, the model is the same. Of
/// RoPE the text has the cosines and sines of position 1 in fp64, which every scaling enters.
/// Error: an interrupt came, or a file changed meanwhile.
Result<ContentDigest> content_digest(const LoadedModel& model);

}  // namespace isobit
