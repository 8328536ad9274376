// Attention over exact pools: threads take tasks, or share the splits of few.

#include "runtime/backends/cpu/attention.h"

namespace isobit::cpu {
namespace {

constexpr std::int64_t kSharedPositions = 1024;  // from so many on threads share a query

}  // namespace

void CpuBackend::attention(Rows q, const AttentionRows& args, const void* k_pool,
                           const void* v_pool, Rows out) {
  if (flash_.emulated()) return attention_flash(q, args, k_pool, v_pool, out);
  if (args.heads == 0 || args.rows.empty()) return;
  const std::int64_t rows = std::int64_t(args.rows.size()), tasks = rows * args.kv_heads;
  std::int64_t most = 0;  // positions that one row sees
  for (const auto& place : args.rows) most = std::max(most, place.position - place.first + 1);
  dispatch([&]<class T>(T) {
    const AttentionCall<T> call{q, args, {k_pool, v_pool, nullptr, nullptr}, out, mode_};
    // Rows go by fastest: what neighbours of a prompt read of one head stays in the cache.
    const auto task = [&](std::int64_t t) { return call.task(t / rows, t % rows); };
    if (pool_.size() > 1 && tasks < 4 * pool_.size() && most >= kSharedPositions &&
        table<T>().attention_part != nullptr) {
      std::vector<AttentionTask<T>> all;
      for (std::int64_t t = 0; t < tasks; ++t) all.push_back(task(t));
      return shared_attention<T>(all);
    }
    pool_.run(tasks, [&](int index, int shares) {
      for (std::int64_t t = index; t < tasks; t += shares) table<T>().attention(task(t));
    });
  });
}

/// Few queries over many positions: the threads share the splits of all, in order.
template <class T>
void CpuBackend::shared_attention(std::span<const AttentionTask<T>> tasks) {
  std::vector<std::int64_t> begin{0}, place{0};  // of each task: its first split, its parts
  for (const AttentionTask<T>& task : tasks) {
    const std::int64_t splits = task.last / kSplitPositions - task.first / kSplitPositions + 1;
    begin.push_back(begin.back() + splits);
    place.push_back(place.back() + splits * task.heads * (task.head_dim + 2));
  }
  T* parts = room<T>(parts_, place.back());
  pool_.run(begin.back(), [&](int index, int shares) {
    const Range range = share_of(begin.back(), index, shares);
    std::size_t t = 0;
    for (std::int64_t s = range.begin; s < range.end; ++s) {
      while (s >= begin[t + 1]) ++t;
      const AttentionTask<T>& task = tasks[t];
      const std::int64_t split = s - begin[t];
      table<T>().attention_part(task, task.first / kSplitPositions + split,
                                parts + place[t] + split * task.heads * (task.head_dim + 2));
    }
  });
  for (std::size_t t = 0; t < tasks.size(); ++t) {
    table<T>().attention_merge(tasks[t], parts + place[t]);
  }
}

}  // namespace isobit::cpu
