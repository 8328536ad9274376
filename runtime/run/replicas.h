// Data parallelism: the prompts of a cell dealt to replicas, and their traces put together again.
//
// A replica has a share of the prompts, whole weights, a batcher and a cache of its own; nothing
// passes between replicas. Pure values. Caller: generate.cc.
#pragma once

#include <mutex>
#include <string>
#include <vector>

#include "runtime/run/generate.h"

namespace isobit {

/// Why a request cannot be dealt to its replicas, or empty.
std::string refuse_replicas(const GenerateRequest& request);

/// How many of the replicas asked for have a prompt.
int replicas_with_prompts(const GenerateRequest& request);

/// One request for each of them: replica i of n has prompts [P * i / n, P * (i + 1) / n), so that
/// two have the halves. Prompts keep the numbers of the whole where they are called by these.
/// `request` and `one_at_a_time`, which guards its spill, must outlive them.
std::vector<GenerateRequest> deal_prompts(const GenerateRequest& request,
                                          std::mutex& one_at_a_time);

/// The whole result from those of the replicas, in their order. Counts and bytes are sums,
/// `live_rows` is the least of the replicas' and other extremes are the most. `seconds` are left.
GenerateResult join_replicas(std::vector<GenerateResult> parts);

}  // namespace isobit
