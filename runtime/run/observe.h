// What a run did, as the trace tells it: what was asked is the judge's to compare.
// Callers: generate.cc.
#pragma once

#include <memory>
#include <span>

#include "runtime/run/generate.h"

namespace isobit {

using Ranks = std::span<const std::unique_ptr<Communicator>>;

/// Fills everything but weight_bytes and what a cost meter reads. `stats`, `kv`, `info`: of the
/// first rank; `changed_weights`: weights whose bits request.weights changed.
void observe(const GenerateRequest& request, const ScheduleStats& stats, const KvCounters& kv,
             const BackendInfo& info, Ranks ranks, std::int64_t changed_weights, Observed& out);

}  // namespace isobit
