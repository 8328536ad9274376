// Keys and values as the cache shows them when a prompt has ended, for whoever wants them by value.

#include "runtime/model/forward.h"

namespace isobit {

bool Forward::wants_any(Site site, int layer) const {
  return recorder_ != nullptr && (recorder_->wants(site) || recorder_->wants_values(site, layer));
}

void Forward::give_seen(int sequence, std::int64_t n) {
  if (recorder_ == nullptr) return;
  const Partition& p = model_.partition;
  const std::int64_t d = config_.head_dim, skip = (p.owned_kv_heads.begin - p.kv_heads.begin) * d;
  std::vector<StepRow> rows(std::size_t(n), StepRow{});
  for (std::int64_t i = 0; i < n; ++i) rows[std::size_t(i)] = {sequence, i, 0, false, false};
  for (int layer = 0; layer < int(config_.layers); ++layer) {
    for (const Site site : {Site::k_seen, Site::v_seen}) {
      const bool keys = site == Site::k_seen;
      if (!recorder_->wants_values(site, layer) || !cache_.shows(keys)) continue;
      const Rows all = upload_seen(cache_.seen(layer, sequence, n, keys), n);
      const Rows own = scratch(kSeenRows, n, p.owned_kv_heads.size() * d);
      backend_.copy(columns(all, skip, own.cols, backend_.real_size()), own);
      recorder_->give_values(site, layer, rows, gather_columns(own, kv_widths_, kRecorded),
                             backend_);
    }
  }
}

/// Rows of this rank's KV heads as Reals in backend memory.
Rows Forward::upload_seen(std::span<const double> values, std::int64_t n) {
  const Rows out = scratch(kSeenK, n, attention_.kv_heads * config_.head_dim);
  if (!values.empty()) backend_.set_reals(values, out);
  return out;
}

}  // namespace isobit
