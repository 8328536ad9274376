// From a logits row to a token: greedy, temperature, top-k, top-p with integer weights and a
// counter-based draw (NUMERICS.md, "Sampling"). A pure function of the row, the seed, the prompt
// and the position; nothing depends on batch slot, rank or call order.
#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace isobit {

/// Above 0 none is smaller: any logit below 3e8 divided by it is finite in fp32.
inline constexpr double kLeastTemperature = 1e-30;

struct SamplerOptions {
  double temperature = 0.0;  // 0: greedy; else kLeastTemperature or more
  std::int64_t top_k = 0;    // 0: all
  double top_p = 1.0;        // in (0, 1]
  std::uint64_t seed = 0;
  std::uint32_t stream = 0;
};

/// "greedy", "sample", "seed:3+temperature:0.7+top_k:50+top_p:0.9": sorted, without what is at its
/// default, which is 1 of the temperature. The stream is no part of it.
std::string text_of(const SamplerOptions& options);

/// XXH3-64 of a prompt's token ids, int32 little-endian.
std::uint64_t prompt_hash(std::span<const std::int32_t> tokens);

/// The token drawn from a finite row. `position` is the absolute position of the token drawn.
/// T is float, or double in fp64.
template <class T>
std::int32_t sample(std::span<const T> logits, const SamplerOptions& options, std::uint64_t prompt,
                    std::int64_t position);

}  // namespace isobit
