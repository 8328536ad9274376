#include "runtime/run/replicas.h"

#include <algorithm>
#include <iterator>
#include <string>
#include <utility>

#include "runtime/numerics/flash_text.h"

namespace isobit {
namespace {

std::size_t first_prompt(std::size_t prompts, std::size_t replica, std::size_t replicas) {
  return prompts * replica / replicas;
}

/// What another replica of the same cell observed, into what those before it did.
void join_observed(const Observed& part, Observed& all) {
  for (std::int64_t Observed::*sum :
       {&Observed::collectives, &Observed::bytes_moved, &Observed::joined_late,
        &Observed::left_early, &Observed::out_of_order, &Observed::steps, &Observed::prefix_hits,
        &Observed::recomputed, &Observed::cached_reads, &Observed::drafted, &Observed::draft_hits,
        &Observed::rolled_back, &Observed::kv_bytes, &Observed::kv_exact_bytes,
        &Observed::kv_evicted, &Observed::kv_coded, &Observed::kv_rebuilt, &Observed::replicas}) {
    all.*sum += part.*sum;
  }
  for (std::int64_t Observed::*most :
       {&Observed::threads, &Observed::chunks, &Observed::pages, &Observed::max_position}) {
    all.*most = std::max(all.*most, part.*most);
  }
  all.live_rows = std::min(all.live_rows, part.live_rows);
  all.kv_identity = all.kv_identity && part.kv_identity;
  all.attention = joined_flash(all.attention, part.attention);
  if (all.gemm != part.gemm) all.gemm = SchedulesRan::joined(all.gemm, part.gemm);
}

}  // namespace

std::string refuse_replicas(const GenerateRequest& request) {
  if (request.replicas < 2) return "";
  const std::string asked = "replicas: " + std::to_string(request.replicas);
  if (request.ranks > 1) {
    return asked + " and gpus: " + std::to_string(request.ranks) +
           ": a replica has one rank; leave one of them out, or exclude the pair";
  }
  return request.world == nullptr ? "" : asked + ": not over the processes of mpirun";
}

int replicas_with_prompts(const GenerateRequest& request) {
  return std::min(request.replicas, int(request.prompts.size()));
}

std::vector<GenerateRequest> deal_prompts(const GenerateRequest& request,
                                          std::mutex& one_at_a_time) {
  const std::size_t prompts = request.prompts.size();
  const auto replicas = std::size_t(replicas_with_prompts(request));
  std::vector<GenerateRequest> shares;
  for (std::size_t r = 0; r < replicas; ++r) {
    const std::size_t begin = first_prompt(prompts, r, replicas);
    const std::size_t end = first_prompt(prompts, r + 1, replicas);
    GenerateRequest& share = shares.emplace_back(request);
    share.replicas = 1;
    share.patch.first_prompt = int(begin);
    share.prompts.assign(request.prompts.begin() + std::ptrdiff_t(begin),
                         request.prompts.begin() + std::ptrdiff_t(end));
    for (std::size_t p = 0; p < share.prompts.size(); ++p) {
      if (share.prompts[p].id.empty()) share.prompts[p].id = std::to_string(begin + p);
    }
    share.capture.clear();
    for (const auto& [prompt, position] : request.capture) {
      if (prompt < int(begin) || prompt >= int(end)) continue;
      share.capture.emplace_back(prompt - int(begin), position);
    }
    if (request.values.prompts >= 0) {
      share.values.prompts =
          std::max<std::int64_t>(0, request.values.prompts - std::int64_t(begin));
    }
    if (request.value_row) {
      share.value_row = [&request, &one_at_a_time, begin](ValueKey key,
                                                          std::span<const std::byte> row) {
        const std::lock_guard lock(one_at_a_time);
        key.prompt += int(begin);
        request.value_row(key, row);
      };
    }
    if (!request.spill) continue;
    share.spill = [&request, &one_at_a_time, begin](int prompt, std::int64_t position,
                                                    std::span<const std::byte> row) {
      const std::lock_guard lock(one_at_a_time);
      request.spill(prompt + int(begin), position, row);
    };
  }
  return shares;
}

GenerateResult join_replicas(std::vector<GenerateResult> parts) {
  GenerateResult all = std::move(parts.front());
  for (std::size_t r = 1; r < parts.size(); ++r) {
    CellTrace& part = parts[r].trace;
    const int begin = int(all.trace.prompts.size());
    if (all.trace.status == CellStatus::ok) {
      all.trace.status = part.status;
      all.trace.reason = part.reason;
    }
    all.trace.record_seconds = std::max(all.trace.record_seconds, part.record_seconds);
    std::move(part.prompts.begin(), part.prompts.end(), std::back_inserter(all.trace.prompts));
    for (auto& [key, row] : parts[r].captured) {
      all.captured[{key.first + begin, key.second}] = std::move(row);
    }
    join_observed(part.observed, all.trace.observed);
  }
  return all;
}

}  // namespace isobit
