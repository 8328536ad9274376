// What a run did, as the trace tells it: what was asked is the judge's to compare.
// Callers: generate.cc.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "runtime/run/generate.h"

namespace isobit {

using Ranks = std::span<const std::unique_ptr<Communicator>>;

/// What the backends of a team say of themselves: the first rank's record, and all that any of them
/// saw of the order of attention. A rank may have no heads, or none where a mitigation acts.
BackendInfo info_of(const std::vector<std::unique_ptr<Backend>>& backends);

/// Fills everything but weight_bytes and what a cost meter reads. `stats`, `kv`: of the first rank;
/// `changed_weights`: weights whose bits request.weights changed.
void observe(const GenerateRequest& request, const ScheduleStats& stats, const KvCounters& kv,
             const BackendInfo& info, Ranks ranks, std::int64_t changed_weights, Observed& out);

}  // namespace isobit
