// The selftest's model and prompts: small, random from a fixed seed, written as files that the
// shipped loaders read. Callers: selftest.cc and tests.
#pragma once

#include <cstdint>
#include <string>

#include "runtime/base/result.h"

namespace isobit::selftest {

/// Sizes that every reduction rule has something to do in: eight segments, shared KV heads, and
/// room for prompts across the 256-key split.
constexpr std::int64_t kLayers = 3, kHidden = 64, kHeads = 8, kKvHeads = 4, kHeadDim = 8,
                       kMlp = 160, kVocabulary = 256, kContext = 512;
/// A row of the output matrix that is all zeros: its logit is +0 by NUMERICS.md.
constexpr std::int64_t kZeroRow = 7;

/// Writes FOLDER/model and FOLDER/wide (config.json, model.safetensors) and FOLDER/prompts.jsonl:
/// three token prompts, of 28, 41 and 262 tokens, FOLDER/every_token.jsonl: each holds
/// the whole vocabulary, and shapes of single operations, FOLDER/products.jsonl and norms.jsonl.
/// `wide` is the same tensors cut into heads of 32 channels, which codecs of 32 need.
Result<void> write_selftest_inputs(const std::string& folder);

}  // namespace isobit::selftest
