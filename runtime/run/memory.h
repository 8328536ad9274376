// What one cell will take of the host's memory, told before it is computed.
#pragma once

#include <cstdint>

#include "runtime/run/generate.h"

namespace isobit {

/// Bytes. An estimate from above, but for the small: tables of positions, traces, stacks.
struct MemoryEstimate {
  std::int64_t weights = 0;      // rounded; shared by the cells of one worker
  std::int64_t cache = 0;        // keys and values, as if they were exact
  std::int64_t activations = 0;  // rows of the largest step, logits included
};

/// REQUIRES: the request's device is the CPU; its prompts have tokens.
MemoryEstimate estimate_memory(const LoadedModel& model, const GenerateRequest& request);

}  // namespace isobit
