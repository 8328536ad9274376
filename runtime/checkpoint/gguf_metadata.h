// Hyperparameters and tokenizer out of GGUF metadata. Called by gguf.cc only.
#pragma once

#include <map>
#include <string>

#include "runtime/base/result.h"
#include "runtime/checkpoint/gguf_reader.h"
#include "runtime/checkpoint/weights.h"

namespace isobit {

using GgufMetadata = std::map<std::string, GgufValue>;

/// The config as far as metadata tells it; what tensors decide (tied embeddings, biases, RoPE
/// factors, a missing vocabulary size) is left to the caller, and so is validate().
/// Refuses by name what changes the arithmetic.
Result<ModelConfig> config_from_gguf(const GgufMetadata& metadata, const std::string& place);

/// Tokenizer fields as stored. Absent keys keep llama.cpp's defaults.
Result<GgufTokenizer> tokenizer_from_gguf(const GgufMetadata& metadata, const std::string& place);

}  // namespace isobit
