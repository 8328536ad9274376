// KV-Direct as a cache policy: keys and values of old positions are not kept, they are rebuilt in
// every step from checkpoints of the residual stream. Lossless: a rebuilt K or V has the bits of
// the one that was computed first.
//
// Checkpoints are the input rows of some layers, or the token ids alone. Layers between two
// checkpoints are computed again for the rebuilt positions, attention and MLP included. Callers:
// policies/residual.cc reads the text; batcher, store and forward pass obey.
#pragma once

#include <cstdint>

#include "runtime/base/result.h"
#include "runtime/cache/mode.h"

namespace isobit {

struct ResidualSpec {
  std::int64_t every = 1;   // layers 0, every, 2 * every, … have a checkpoint; 0: token ids alone
  std::int64_t budget = 0;  // latest positions of a sequence whose K and V are kept

  [[nodiscard]] bool checkpoint(std::int64_t layer) const {
    return every > 0 && layer % every == 0;
  }
  /// Layers whose input is kept, of all.
  [[nodiscard]] std::int64_t checkpoints(std::int64_t layers) const {
    return every == 0 ? 0 : (layers + every - 1) / every;
  }
};
constexpr std::int64_t kTokenBytes = 4;  // what a position takes whose only checkpoint is its token

/// Why it cannot serve a model of so many layers, or a cache mode, or nothing.
Result<void> check_residual(const ResidualSpec& spec, std::int64_t layers);
Result<void> check_residual(const ResidualSpec& spec, const CacheMode& mode);

}  // namespace isobit
