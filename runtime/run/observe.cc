// One assignment a field; nothing is decided here.
#include "runtime/run/observe.h"

#include <algorithm>

#include "runtime/numerics/flash_text.h"

namespace isobit {

BackendInfo info_of(const std::vector<std::unique_ptr<Backend>>& backends) {
  BackendInfo info = backends.front()->describe();
  for (const auto& backend : backends) {
    info.attention = joined_flash(info.attention, backend->describe().attention);
  }
  return info;
}

void observe(const GenerateRequest& request, const ScheduleStats& stats, const KvCounters& kv,
             const BackendInfo& info, Ranks ranks, std::int64_t changed_weights, Observed& out) {
  out.engine = info.engine;
  out.device = info.device;
  out.isa = info.isa;
  out.kernels = info.kernels;
  out.gemm = info.gemm;
  out.attention = info.attention;
  out.library = info.library;
  out.library_sha256 = info.library_sha256;
  out.precision = mode_of(request.precision).name;
  out.threads = info.threads_used;
  out.ranks = std::int64_t(ranks.front()->size());
  out.virtual_ranks = ranks.front()->is_virtual();
  out.transport = ranks.front()->transport();
  out.collectives = ranks.front()->traffic().collectives;
  out.bytes_moved = ranks.front()->traffic().bytes_sent;
  for (const auto& rank : ranks) {
    out.collectives = std::min(out.collectives, rank->traffic().collectives);
    out.bytes_moved = std::min(out.bytes_moved, rank->traffic().bytes_sent);
  }
  out.live_rows = stats.live_rows;
  out.joined_late = stats.joined_late;
  out.left_early = stats.left_early;
  out.out_of_order = stats.out_of_order;
  out.steps = stats.steps;
  out.chunks = stats.chunks;
  out.page_size = request.cache.page_size;
  out.pages = stats.pages;
  out.prefix_hits = stats.prefix_hits;
  out.recomputed = stats.recomputed;
  out.cached_reads = stats.cached_reads;
  out.drafted = stats.drafted;
  out.draft_hits = stats.draft_hits;
  out.rolled_back = stats.rolled_back;
  out.max_position = stats.max_position;
  out.kv = request.kv.text;
  out.kv_bytes = kv.bytes;
  out.kv_exact_bytes = kv.exact_bytes;
  out.kv_evicted = kv.evicted;
  out.kv_coded = kv.coded;
  out.kv_rebuilt = kv.rebuilt;
  out.kv_identity = !request.kv.exact() && !kv.could_act;
  const bool unchanged = request.weights.changes() && changed_weights == 0;
  out.weights = request.weights.text + (unchanged ? kNothingChanged : "");
}

}  // namespace isobit
