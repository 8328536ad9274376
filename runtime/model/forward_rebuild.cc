// Keys and values of earlier positions, rebuilt layer by layer from what is kept of the residual
// stream: a layer's own input where it has a checkpoint, else what the layer before gives again.
//
// A rebuilt row goes through the operations of its first time, so it has the bits of then.

#include <algorithm>

#include "runtime/model/forward.h"

namespace isobit {

void Forward::rebuild(int index, std::span<const StepRow> past) {
  if (past.empty()) return;
  const LayerWeights& w = model_.layers[std::size_t(index)];
  const Rows h = past_input(index, past);
  see_pages(index, past);
  std::vector<std::int64_t> table_rows;
  for (const StepRow& row : past) table_rows.push_back(table_row(row));
  const bool goes_on = index + 1 < int(config_.layers) && !cache_.checkpoint(index + 1);
  const bool normalises = w.plan.normalises_input();
  const Rows x = normalises && goes_on ? scratch(kNormed, h.rows, h.cols) : h;
  if (normalises) {
    normalise(h, w.norm1, x);
    record(Site::norm1, index, x, past);
  }
  Rows q, k, v;
  project(index, x, past, table_rows, goes_on ? &q : nullptr, k, v);
  apply_row_hook(RowSite::k, index, k, past);
  apply_row_hook(RowSite::v, index, v, past);
  if (goes_on) record_qkv(index, q, k, v, past);
  store_kv(index, k, v, past, layer_slots_, true);
  if (index == 0 && cache_.by_layer()) cache_.count_rebuilt(std::int64_t(past.size()));
  if (goes_on) finish_layer(index, attend(index, q, past), x, h, past);
}

/// REQUIRES: without a checkpoint of the layer, the layer before was just rebuilt for these rows.
Rows Forward::past_input(int index, std::span<const StepRow> past) {
  const Rows h = scratch(kPastH, std::int64_t(past.size()), config_.hidden_size);
  if (cache_.checkpoint(index)) {
    copy_checkpoints(index, past, h, false);
  } else if (index == 0) {
    std::vector<std::int32_t> ids, position_ids;
    for (const StepRow& row : past) {
      ids.push_back(row.token);
      position_ids.push_back(std::int32_t(row.position));
    }
    model_.embedding.require(ids);
    embed(past, ids, position_ids, kPastH);
  }
  apply_residual_hook(index, h, past);
  return h;
}

/// A row has R applied, so the cache's format holds it exactly.
void Forward::copy_checkpoints(int index, std::span<const StepRow> rows, Rows h, bool store) {
  std::vector<std::int64_t> slots;
  for (const StepRow& row : rows) {
    slots.push_back(cache_.checkpoint_slot(row.sequence, row.position));
  }
  void* const pool = cache_.checkpoint_pool(index);
  if (store) {
    backend_.write_kv({}, h, slots, 1, cache_.mode().page_size, nullptr, pool);
  } else {
    backend_.read_kv(slots, 1, cache_.mode().page_size, nullptr, pool, {}, h);
  }
}

void Forward::see_layer(int index, std::span<const StepRow> rows) {
  attention_.rows = places_[window_of_layer_[std::size_t(index)]];
  if (cache_.by_layer()) see_pages(index, rows);
}

void Forward::see_pages(int index, std::span<const StepRow> rows) {
  layer_slots_.clear(), layer_places_.clear();
  const std::int64_t window = windows_[window_of_layer_[std::size_t(index)]];
  for (const StepRow& row : rows) {
    layer_slots_.push_back(cache_.slot(row.sequence, row.position, index));
    AttentionRows::Row place;
    place.position = row.position;
    place.first = window == 0 ? 0 : std::max<std::int64_t>(0, row.position - window + 1);
    place.table = cache_.table(row.sequence, index);
    layer_places_.push_back(place);
  }
  attention_.rows = layer_places_;
}

}  // namespace isobit
