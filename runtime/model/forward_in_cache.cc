// Attention whose positions are counted in the cache (CachePolicy::positions_in_cache).
//
// Keys lie in the cache before RoPE. For each query those that it sees are read into pages of their
// own, in which a key's position is the number of keys before it, and turned by that; then
// attention is what it always is. A query's own position is that of its key, the last one.

#include <numeric>

#include "runtime/kv_layout.h"
#include "runtime/model/forward.h"

namespace isobit {

std::int64_t Forward::position_in_cache(const StepRow& row) const {
  return cache_.policy()->pattern(row.position).count(row.position);
}

/// Turns q and k as their own queries see them; a copy of k is left for the cache.
void Forward::turn_in_cache(const Rows* q, Rows k, std::span<const StepRow> rows,
                            const Rotation& rotation) {
  backend_.copy(k, scratch(kPlainK, k.rows, k.cols));
  if (rotation.dims == 0) return;
  std::vector<std::int64_t> positions;
  for (const StepRow& row : rows) positions.push_back(position_in_cache(row));
  if (q != nullptr) backend_.rope(*q, attention_.heads, positions, rotation);
  backend_.rope(k, attention_.kv_heads, positions, rotation);
}

void Forward::attend_in_cache(int index, Rows q, std::span<const StepRow> rows, Rows out) {
  if (attention_.heads == 0) return;
  const std::size_t real = backend_.real_size();
  const auto sees_all = [&](const StepRow& row) { return position_in_cache(row) == row.position; };
  for (std::size_t begin = 0, end; begin < rows.size(); begin = end) {
    // Rows that see every position before them see the same keys at the same positions.
    for (end = begin + 1; end < rows.size() && sees_all(rows[begin]); ++end) {
      if (rows[end].sequence != rows[begin].sequence || !sees_all(rows[end])) break;
    }
    const KvPools seen = gather_seen(index, rows[end - 1]);
    std::vector<std::int32_t> pages(std::size_t(position_in_cache(rows[end - 1])) + 1);
    std::iota(pages.begin(), pages.end(), 0);
    std::vector<AttentionRows::Row> places;
    for (std::size_t r = begin; r < end; ++r) {
      AttentionRows::Row& place = places.emplace_back();
      place.position = position_in_cache(rows[r]);
      // The model's window hides by original positions.
      place.first = cache_.policy()->pattern(rows[r].position).count(attention_.rows[r].first);
      place.table = pages.data();
    }
    AttentionRows args = attention_;
    args.rows = places;
    const auto from = std::int64_t(begin), count = std::int64_t(end - begin);
    backend_.attention(some_rows(q, from, count, real), args, seen.k, seen.v,
                       some_rows(out, from, count, real));
  }
}

/// What a row sees of a layer, at positions 0, 1, … of pages 0, 1, …
KvPools Forward::gather_seen(int index, const StepRow& row) {
  const KvPattern pattern = cache_.policy()->pattern(row.position);
  const std::int64_t heads = attention_.kv_heads, width = heads * config_.head_dim;
  const std::int64_t page = cache_.mode().page_size;
  std::vector<std::int64_t> slots;
  for (std::int64_t p = 0; p <= row.position; ++p) {
    if (pattern.sees(p)) slots.push_back(cache_.slot(row.sequence, p));
  }
  const auto count = std::int64_t(slots.size());
  std::vector<std::int64_t> positions(slots.size());
  std::iota(positions.begin(), positions.end(), std::int64_t(0));
  const Rows k = scratch(kSeenK, count, width), v = scratch(kSeenV, count, width);
  backend_.read_kv(slots, heads, std::int32_t(page), cache_.k_pool(index), cache_.v_pool(index), k,
                   v);
  const Rotation rotation = rotation_of(index);
  if (rotation.dims > 0) backend_.rope(k, heads, positions, rotation);
  const std::int64_t pages = (count + page - 1) / page;
  const PageShape shape = page_shape(heads, config_.head_dim, std::int32_t(page));
  void* const k_pages = scratch(kSeenKPages, pages, shape.k_page).data;
  void* const v_pages = scratch(kSeenVPages, pages, shape.v_page).data;
  backend_.write_kv(k, v, positions, heads, std::int32_t(page), k_pages, v_pages);
  return {k_pages, v_pages, nullptr, nullptr};
}

}  // namespace isobit
