// embed -> layers (norm, q k v, rope, cache, attention, o, add, norm, gate up, act, down, add)
// -> final norm -> lm_head. Every rounding happens inside the backend; this file is the order.

#include "runtime/model/forward.h"

#include <algorithm>
#include <numeric>

#include "runtime/numerics/order.h"

namespace invar {
namespace {

/// Names of scratch arrays.
enum Buffer : int {
  kH,
  kNormed,
  kQ,
  kK,
  kV,
  kAttn,
  kAttnFull,
  kY,
  kGate,
  kUp,
  kAct,
  kInput,
  kScale,
  kAmax,
  kParts,
  kGathered,
  kRecorded,
  kPastH,
  kWanted,
  kLocalLogits,
  kLogits,
  kEmbedded,
  kBuffers
};

Rows columns(Rows x, std::int64_t begin, std::int64_t count, std::size_t real) {
  x.data = static_cast<char*>(x.data) + std::size_t(begin) * real;
  x.cols = count;
  return x;
}

Rows some_rows(Rows x, std::int64_t begin, std::int64_t count, std::size_t real) {
  x.data = static_cast<char*>(x.data) + std::size_t(begin * x.stride) * real;
  x.rows = count;
  return x;
}

}  // namespace

Forward::Forward(const RankModel& model, Backend& backend, Communicator& communicator,
                 KvCache& cache, Recorder* recorder)
    : model_(model),
      config_(model.config),
      backend_(backend),
      comm_(communicator),
      cache_(cache),
      recorder_(recorder),
      scratch_(kBuffers) {
  for (int r = 0; r < comm_.size(); ++r) partitions_.emplace_back(config_, r, comm_.size());
}

Rows Forward::run(std::span<const StepRow> rows, std::span<const StepRow> past) {
  positions_.clear();
  slots_.clear();
  for (const StepRow& row : rows) {
    INVAR_CHECK(row.position < model_.positions);
    positions_.push_back(row.position);
    slots_.push_back(cache_.slot(row.sequence, row.position));
  }
  const Rows h = embed(rows);
  for (int i = 0; i < int(config_.layers); ++i) layer(i, h, rows, past);
  return logits(h, rows);
}

void Forward::layer(int index, Rows h, std::span<const StepRow> rows,
                    std::span<const StepRow> past) {
  const LayerWeights& w = model_.layers[std::size_t(index)];
  const Mode& mode = backend_.mode();
  apply_residual_hook(index, h, rows);
  if (cache_.mode().recomputes) {
    for (std::size_t r = 0; r < rows.size(); ++r) {
      backend_.copy(some_rows(h, std::int64_t(r), 1, backend_.real_size()),
                    {cache_.residual(index, slots_[r]), 1, h.cols, h.cols});
    }
    recompute(index, past);
  }

  const Rows x = scratch(kNormed, h.rows, h.cols);
  backend_.rms_norm(h, w.norm1.get(), config_.rms_norm_eps, x);
  record(Site::norm1, index, x, rows);
  const Rows q = column_linear(x, *w.q, w.q_bias, mode.gemm_input, mode.stored, kQ);
  backend_.rope(q, model_.partition.heads.size(), positions_, model_.cosine.get(),
                model_.sine.get());
  Rows k, v;
  project_kv(index, x, rows, k, v);
  const std::int64_t d = config_.head_dim;
  record_sliced(Site::q, index, q,
                widths([d](const Partition& each) { return each.heads.size() * d; }), rows);
  const auto kv_widths =
      widths([d](const Partition& each) { return each.owned_kv_heads.size() * d; });
  const Partition& p = model_.partition;
  const std::int64_t skip = (p.owned_kv_heads.begin - p.kv_heads.begin) * d;
  const std::int64_t owned = p.owned_kv_heads.size() * d;
  record_sliced(Site::k, index, columns(k, skip, owned, backend_.real_size()), kv_widths, rows);
  record_sliced(Site::v, index, columns(v, skip, owned, backend_.real_size()), kv_widths, rows);
  apply_write_hook(index, k, v, rows);
  backend_.write_kv(k, v, slots_, p.kv_heads.size(), cache_.mode().page_size, cache_.k_pool(index),
                    cache_.v_pool(index));

  const Rows attn = attend(index, q, rows);
  record(Site::attn, index, attn, rows);
  const Rows mine =
      columns(attn, p.attention_columns.begin, p.attention_columns.size(), backend_.real_size());
  const Rows o = row_linear(mine, *w.o, w.o_bias, attn.cols, kY);
  record(Site::o, index, o, rows);
  backend_.add(h, o);
  record(Site::h1, index, h, rows);

  backend_.rms_norm(h, w.norm2.get(), config_.rms_norm_eps, x);
  record(Site::norm2, index, x, rows);
  const Rows gate = column_linear(x, *w.gate, w.gate_bias, mode.gemm_input, mode.stored, kGate);
  const Rows up = column_linear(x, *w.up, w.up_bias, mode.gemm_input, mode.stored, kUp);
  const Rows act = scratch(kAct, h.rows, gate.cols);
  backend_.gated_silu(gate, up, act);
  record_sliced(Site::act, index, act,
                widths([](const Partition& each) { return each.mlp_columns.size(); }), rows);
  const Rows down = row_linear(act, *w.down, w.down_bias, config_.intermediate_size, kY);
  record(Site::down, index, down, rows);
  backend_.add(h, down);
  record(Site::h2, index, h, rows);
}

/// K (rotated) and V of normalised rows.
void Forward::project_kv(int index, Rows x, std::span<const StepRow> rows, Rows& k, Rows& v) {
  const LayerWeights& w = model_.layers[std::size_t(index)];
  const Mode& mode = backend_.mode();
  std::vector<std::int64_t> positions;
  for (const StepRow& row : rows) positions.push_back(row.position);
  k = column_linear(x, *w.k, w.k_bias, mode.gemm_input, mode.stored, kK);
  backend_.rope(k, model_.partition.kv_heads.size(), positions, model_.cosine.get(),
                model_.sine.get());
  v = column_linear(x, *w.v, w.v_bias, mode.gemm_input, mode.stored, kV);
}

/// Rebuilds K and V of earlier positions from the residual rows stored at this layer's input.
void Forward::recompute(int index, std::span<const StepRow> past) {
  if (past.empty()) return;
  const Rows h = scratch(kPastH, std::int64_t(past.size()), config_.hidden_size);
  std::vector<std::int64_t> slots;
  for (std::size_t r = 0; r < past.size(); ++r) {
    slots.push_back(cache_.slot(past[r].sequence, past[r].position));
    backend_.copy({cache_.residual(index, slots.back()), 1, h.cols, h.cols},
                  some_rows(h, std::int64_t(r), 1, backend_.real_size()));
  }
  backend_.rms_norm(h, model_.layers[std::size_t(index)].norm1.get(), config_.rms_norm_eps, h);
  record(Site::norm1, index, h, past);
  Rows k, v;
  project_kv(index, h, past, k, v);
  apply_write_hook(index, k, v, past);
  backend_.write_kv(k, v, slots, model_.partition.kv_heads.size(), cache_.mode().page_size,
                    cache_.k_pool(index), cache_.v_pool(index));
}

Rows Forward::embed(std::span<const StepRow> rows) {
  const std::int64_t n = std::int64_t(rows.size()), hidden = config_.hidden_size;
  const Rows h = scratch(kH, n, hidden);
  // A rank looks up the ids of its own vocabulary; the others' rows arrive as bytes.
  std::vector<std::vector<std::int64_t>> rows_of(partitions_.size());
  std::vector<std::int32_t> mine;
  for (std::int64_t r = 0; r < n; ++r) {
    const std::int32_t id = rows[std::size_t(r)].token;
    INVAR_CHECK(id >= 0 && id < config_.vocab_size);
    for (std::size_t rank = 0; rank < partitions_.size(); ++rank) {
      const Span v = partitions_[rank].vocabulary;
      if (id < v.begin || id >= v.end) continue;
      rows_of[rank].push_back(r);
      if (int(rank) == comm_.rank()) mine.push_back(std::int32_t(id - v.begin));
    }
  }
  std::vector<std::int32_t> ids;
  for (const StepRow& row : rows) ids.push_back(row.token);
  model_.embedding.require(ids);
  const Rows table{model_.embedding.get(), model_.partition.vocabulary.size(), hidden, hidden};
  const Rows local = scratch(kEmbedded, std::int64_t(mine.size()), hidden);
  backend_.gather(table, mine, local);
  std::vector<std::size_t> sizes;
  for (const auto& r : rows_of) {
    sizes.push_back(r.size() * std::size_t(hidden) * backend_.real_size());
  }
  const Rows all = scratch(kGathered, n, hidden);
  comm_.all_gather(local.data, all.data, sizes);
  std::int64_t at = 0;
  for (const auto& owned : rows_of) {
    for (const std::int64_t r : owned) {
      backend_.copy(some_rows(all, at++, 1, backend_.real_size()),
                    some_rows(h, r, 1, backend_.real_size()));
    }
  }
  record(Site::embed, -1, h, rows);
  return h;
}

Rows Forward::attend(int index, Rows q, std::span<const StepRow> rows) {
  const Partition& p = model_.partition;
  AttentionRows args;
  args.heads = p.heads.size();
  args.head_dim = config_.head_dim;
  args.kv_heads = p.kv_heads.size();
  const std::int64_t group = config_.heads / config_.kv_heads;
  for (std::int64_t head = p.heads.begin; head < p.heads.end; ++head) {
    args.kv_of_head.push_back(std::int32_t(head / group - p.kv_heads.begin));
  }
  args.scale = 1.0 / sqrt_(double(config_.head_dim));
  args.page_size = cache_.mode().page_size;
  std::vector<AttentionRows::Row> places;
  for (const StepRow& row : rows) {
    std::vector<std::uint8_t>* keep = cache_.keep(index, row.sequence, false);
    if (keep != nullptr && !keep->empty()) {
      keep->resize(std::max(keep->size(), std::size_t(row.position) + 1), 1);
    }
  }
  for (const StepRow& row : rows) {
    AttentionRows::Row place;
    place.position = row.position;
    if (config_.sliding_window > 0) {
      place.first = std::max<std::int64_t>(0, row.position - config_.sliding_window + 1);
    }
    place.table = cache_.table(row.sequence);
    std::vector<std::uint8_t>* keep = cache_.keep(index, row.sequence, false);
    if (keep != nullptr && !keep->empty()) place.keep = keep->data();
    places.push_back(place);
  }
  args.rows = places;
  void* k_pool = cache_.k_pool(index);
  void* v_pool = cache_.v_pool(index);
  hooked_pools(index, rows, k_pool, v_pool);
  const Rows local = scratch(kAttn, q.rows, q.cols);
  backend_.attention(q, args, k_pool, v_pool, local);
  observe_and_select(index, q, rows);
  const std::int64_t d = config_.head_dim;
  return gather_columns(local, widths([d](const Partition& each) { return each.heads.size() * d; }),
                        kAttnFull);
}

Rows Forward::logits(Rows h, std::span<const StepRow> rows) {
  std::vector<StepRow> wanting;
  const auto wanted =
      std::count_if(rows.begin(), rows.end(), [](const StepRow& row) { return row.wants_logits; });
  const Rows x = scratch(kWanted, wanted, h.cols);
  for (std::size_t r = 0; r < rows.size(); ++r) {
    if (!rows[r].wants_logits) continue;
    backend_.copy(some_rows(h, std::int64_t(r), 1, backend_.real_size()),
                  some_rows(x, std::int64_t(wanting.size()), 1, backend_.real_size()));
    wanting.push_back(rows[r]);
  }
  if (wanting.empty()) return x;
  backend_.rms_norm(x, model_.final_norm.get(), config_.rms_norm_eps, x);
  record(Site::final_norm, int(config_.layers), x, wanting);
  const Mode& mode = backend_.mode();
  const Format kept = mode.wide() ? Format::f64 : Format::f32;  // logits are not rounded
  const Rows local = column_linear(x, *model_.head, {}, mode.head_input, kept, kLocalLogits);
  return gather_columns(local, widths([](const Partition& p) { return p.vocabulary.size(); }),
                        kLogits);
}

Rows Forward::gemm_input(Rows x, Format input, bool scaled, bool sliced, const void*& scale) {
  scale = nullptr;
  if (!scaled && (input == backend_.mode().stored || backend_.mode().wide())) return x;
  const Rows rounded = scratch(kInput, x.rows, x.cols);
  if (scaled) {
    const Rows local = scratch(kAmax, 1, x.rows);
    backend_.amax(x, local.data);
    const void* amax = local.data;
    std::int64_t ranks = 1;
    if (sliced && comm_.size() > 1) {  // the row's other columns live on other ranks
      ranks = comm_.size();
      const std::vector<std::int64_t> each(std::size_t(ranks), x.rows);
      amax = gather_columns(local, each, kGathered).data;
    }
    const Rows scales = scratch(kScale, 1, x.rows);
    backend_.scales(amax, ranks, x.rows, input, scales.data);
    scale = scales.data;
  }
  backend_.quantize(x, scale, input, rounded);
  return rounded;
}

Rows Forward::column_linear(Rows x, const WeightMatrix& w, const DeviceMemory& bias, Format input,
                            Format stored, int buffer) {
  const Rows out = scratch(buffer, x.rows, w.outputs);
  const void* scale = nullptr;
  const Rows in = gemm_input(x, input, w.scaled, false, scale);
  backend_.gemm(in, w, out);
  backend_.finish({&out, 1}, w, scale, bias.get(), stored, out);
  return out;
}

Rows Forward::row_linear(Rows x, const WeightMatrix& w, const DeviceMemory& bias,
                         std::int64_t full_inputs, int buffer) {
  const Rows out = scratch(buffer, x.rows, w.outputs);
  const void* scale = nullptr;
  const Rows in = gemm_input(x, backend_.mode().gemm_input, w.scaled, true, scale);
  backend_.gemm(in, w, out);
  if (comm_.size() == 1) {
    backend_.finish({&out, 1}, w, scale, bias.get(), backend_.mode().stored, out);
    return out;
  }
  // Below 64 columns there is one segment, owned by rank 0: nobody else has a part.
  const bool single = segments_of(full_inputs, int(config_.segments)) == 1;
  const std::size_t part_bytes = std::size_t(out.rows * out.cols) * backend_.real_size();
  std::vector<std::size_t> sizes(std::size_t(comm_.size()), single ? 0 : part_bytes);
  sizes[0] = part_bytes;
  const std::int64_t owners = single ? 1 : comm_.size();
  const Rows all = scratch(kParts, out.rows * owners, out.cols);
  comm_.all_gather(out.data, all.data, sizes);
  std::vector<Rows> parts;
  for (std::int64_t r = 0; r < owners; ++r) {
    parts.push_back(some_rows(all, r * out.rows, out.rows, backend_.real_size()));
  }
  backend_.finish(parts, w, scale, bias.get(), backend_.mode().stored, out);
  return out;
}

Rows Forward::gather_columns(Rows local, std::span<const std::int64_t> widths, int buffer) {
  if (comm_.size() == 1) return local;
  const std::size_t real = backend_.real_size();
  INVAR_CHECK(local.stride == local.cols);
  const std::int64_t total = std::accumulate(widths.begin(), widths.end(), std::int64_t(0));
  std::vector<std::size_t> sizes;
  for (const std::int64_t width : widths) {
    sizes.push_back(std::size_t(width * local.rows) * real);
  }
  const Rows out = scratch(buffer, local.rows, total);
  const Rows blocks = scratch(kParts, local.rows, total);
  comm_.all_gather(local.data, blocks.data, sizes);
  std::int64_t column = 0;
  auto* block = static_cast<char*>(blocks.data);
  for (std::size_t r = 0; r < widths.size(); ++r) {
    backend_.copy({block, local.rows, widths[r], widths[r]}, columns(out, column, widths[r], real));
    block += sizes[r];
    column += widths[r];
  }
  return out;
}

void Forward::record(Site site, int layer, Rows x, std::span<const StepRow> rows) {
  if (recorder_ == nullptr || !recorder_->wants(site) || rows.empty()) return;
  std::vector<Digest> digests(rows.size());
  backend_.digests(x, digests);
  recorder_->record(site, layer, rows, digests);
}

void Forward::record_sliced(Site site, int layer, Rows local, std::span<const std::int64_t> widths,
                            std::span<const StepRow> rows) {
  if (recorder_ == nullptr || !recorder_->wants(site)) return;
  Rows dense = local;
  if (comm_.size() > 1 && local.stride != local.cols) {
    dense = scratch(kGathered, local.rows, local.cols);
    backend_.copy(local, dense);
  }
  record(site, layer, gather_columns(dense, widths, kRecorded), rows);
}

Rows Forward::scratch(int buffer, std::int64_t rows, std::int64_t cols) {
  Scratch& s = scratch_[std::size_t(buffer)];
  const std::size_t bytes = std::size_t(rows * cols) * backend_.real_size();
  if (s.memory.get() == nullptr || s.bytes < bytes) {
    s.memory = DeviceMemory(backend_, bytes);
    s.bytes = bytes;
  }
  return {s.memory.get(), rows, cols, cols};
}

std::vector<std::int64_t> Forward::widths(
    const std::function<std::int64_t(const Partition&)>& f) const {
  std::vector<std::int64_t> out;
  for (const Partition& p : partitions_) out.push_back(f(p));
  return out;
}

}  // namespace invar
