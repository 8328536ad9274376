// A cache as a package ships it, inside the store: rows to it, and what is seen back into the pool.

#include <algorithm>

#include "runtime/cache/store.h"

namespace isobit {

void KvCache::update_shipped(std::int64_t layer, Rows k, Rows v, std::span<const int> sequences,
                             std::span<const std::int64_t> positions) {
  const std::vector<double> keys = backend_.reals(k), values = backend_.reals(v);
  const auto width = std::size_t(k.cols);
  std::vector<ShippedRows> rows;
  for (std::size_t begin = 0, end; begin < sequences.size(); begin = end) {
    end = begin + 1;
    while (end < sequences.size() && sequences[end] == sequences[begin]) ++end;
    const std::size_t from = begin * width, count = (end - begin) * width;
    rows.push_back({sequences[begin], positions[begin], std::span(keys).subspan(from, count),
                    std::span(values).subspan(from, count)});
  }
  const auto seen = shipped_->update(layer, rows);
  if (!seen) throw BackendError(seen.error().message);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    write_seen(rows[i].sequence, true, (*seen)[i].k);
    write_seen(rows[i].sequence, false, (*seen)[i].v);
  }
}

/// Writes K or V of positions from 0 on, (positions, KV heads * head_dim), a share at a time.
void KvCache::write_seen(int sequence, bool keys, std::span<const double> x) {
  const std::int64_t width = shape_.kv_heads * shape_.head_dim;
  const std::int64_t n = std::int64_t(x.size()) / width;
  for (std::int64_t begin = 0; begin < n; begin += kStagedRows) {
    const std::int64_t count = std::min(kStagedRows, n - begin);
    const auto some = x.subspan(std::size_t(begin * width), std::size_t(count * width));
    const Rows rows{staged_.get(), count, width, width};
    backend_.set_reals(some, rows);
    std::vector<std::int64_t> slots;
    for (std::int64_t p = begin; p < begin + count; ++p) slots.push_back(slot(sequence, p));
    backend_.write_kv(keys ? rows : Rows{}, keys ? Rows{} : rows, slots, shape_.kv_heads,
                      mode_.page_size, k_pool(0), v_pool(0));
  }
}

}  // namespace isobit
