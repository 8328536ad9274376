// embed -> layers (norm, q k v, rope, cache, attention, o, add, norm, gate up, act, down, add)
// -> final norm -> lm_head. Every rounding happens inside the backend; this file is the order.

#include "runtime/model/forward.h"

#include <algorithm>
#include <atomic>

#include "runtime/numerics/order.h"

namespace isobit {
namespace {

std::atomic<std::uint64_t> forwards{0};  // made so far in this process

}  // namespace

Forward::Forward(const RankModel& model, Backend& backend, Communicator& communicator,
                 KvCache& cache, Recorder* recorder, const ResidualHook& residual, RowHook* hook)
    : model_(model),
      config_(model.config),
      backend_(backend),
      comm_(communicator),
      cache_(cache),
      recorder_(recorder),
      residual_(residual),
      hook_(hook),
      number_(++forwards),
      scratch_(kBuffers) {
  for (int r = 0; r < comm_.size(); ++r) {
    const Partition& each = partitions_.emplace_back(config_, r, comm_.size());
    head_widths_.push_back(each.heads.size() * config_.head_dim);
    kv_widths_.push_back(each.owned_kv_heads.size() * config_.head_dim);
  }
  const Partition& p = model_.partition;
  attention_.heads = p.heads.size();
  attention_.head_dim = config_.head_dim;
  attention_.kv_heads = p.kv_heads.size();
  const std::int64_t group = config_.heads / config_.kv_heads;
  for (std::int64_t head = p.heads.begin; head < p.heads.end; ++head) {
    attention_.kv_of_head.push_back(std::int32_t(head / group - p.kv_heads.begin));
  }
  const double divisor = config_.query_scale > 0 ? config_.query_scale : double(config_.head_dim);
  attention_.scale = 1.0 / sqrt_(divisor);
  attention_.softcap = config_.attention_softcap;
  attention_.page_size = cache_.mode().page_size;
  for (const LayerWeights& layer : model_.layers) {
    const auto same = std::find(windows_.begin(), windows_.end(), layer.plan.window);
    window_of_layer_.push_back(std::size_t(same - windows_.begin()));
    if (same == windows_.end()) windows_.push_back(layer.plan.window);
  }
  places_.resize(windows_.size());
  attention_.k_codes = cache_.key_layout();
  attention_.v_codes = cache_.value_layout();
}

Rows Forward::run(std::span<const StepRow> rows, std::span<const StepRow> past) {
  note_inputs(rows);
  model_.embedding.require(ids_);
  StepInputs inputs{number_, ids_, wanted_, positions_, slots_, &attention_, places_, false};
  // Positions as ids and experts' rows are no inputs of a step.
  const bool fixed = model_.position_embedding.get() == nullptr && config_.experts == 0;
  inputs.repeatable = fixed && comm_.size() == 1 && recorder_ == nullptr && !residual_ &&
                      hook_ == nullptr && cache_.policy() == nullptr &&
                      cache_.shipped() == nullptr && !cache_.rebuilds() && past.empty();
  if (backend_.begin_step(inputs)) {  // computed, or queued, like an earlier step of this shape
    return scratch(kLocalLogits, std::int64_t(wanted_.size()), model_.head.matrix->outputs);
  }
  const Rows h = embed(rows, ids_, position_ids_, kH);
  for (int i = 0; i < int(config_.layers); ++i) layer(i, h, rows, past);
  apply_residual_hook(int(config_.layers), h, rows);
  const Rows out = logits(h, rows);
  backend_.end_step();
  return out;
}

/// The row of the RoPE tables for a row of a step.
std::int64_t Forward::table_row(const StepRow& row) const {
  return model_.rope_rows.row(cache_.prompt_length(row.sequence), row.position);
}

/// The arrays that the step's operations read: made once, before any of them.
void Forward::note_inputs(std::span<const StepRow> rows) {
  ids_.clear(), wanted_.clear(), positions_.clear(), slots_.clear(), position_ids_.clear();
  for (auto& places : places_) places.clear();
  for (const StepRow& row : rows) {
    ISOBIT_CHECK(row.token >= 0 && row.token < config_.vocab_size);
    if (row.wants_logits) wanted_.push_back(std::int32_t(ids_.size()));
    ids_.push_back(row.token);
    positions_.push_back(table_row(row));
    position_ids_.push_back(std::int32_t(row.position));
    slots_.push_back(cache_.slot(row.sequence, row.position));
    AttentionRows::Row place;
    place.position = row.position;
    place.table = cache_.table(row.sequence);
    for (std::size_t i = 0; i < windows_.size(); ++i) {
      place.first =
          windows_[i] == 0 ? 0 : std::max<std::int64_t>(0, row.position - windows_[i] + 1);
      places_[i].push_back(place);
    }
  }
  plan_phases(rows);
}

void Forward::layer(int index, Rows h, std::span<const StepRow> rows,
                    std::span<const StepRow> past) {
  const LayerWeights& w = model_.layers[std::size_t(index)];
  if (cache_.checkpoint(index)) copy_checkpoints(index, rows, h, true);
  apply_residual_hook(index, h, rows);
  rebuild(index, past);
  see_layer(index, rows);

  const LayerPlan& plan = w.plan;
  const Rows normed = scratch(kNormed, h.rows, h.cols);
  const Rows x = plan.normalises_input() ? normed : h;
  if (plan.normalises_input()) {
    if (!joins_next(index - 1)) normalise(h, w.norm1, x);
    record(Site::norm1, index, x, rows);
  }
  Rows q, k, v;
  project(index, x, rows, positions_, &q, k, v);
  apply_row_hook(RowSite::k, index, k, rows);
  apply_row_hook(RowSite::v, index, v, rows);
  record_qkv(index, q, k, v, rows);
  store_kv(index, k, v, rows, cache_.by_layer() ? layer_slots_ : slots_, false);
  finish_layer(index, attend(index, q, rows), x, h, rows);
}

/// What follows a layer's attention: the output projection, the MLP, and both residual adds.
void Forward::finish_layer(int index, Rows attn, Rows x, Rows h, std::span<const StepRow> rows) {
  const LayerWeights& w = model_.layers[std::size_t(index)];
  record(Site::attn, index, attn, rows);
  const Partition& p = model_.partition;
  const Rows mine =
      columns(attn, p.attention_columns.begin, p.attention_columns.size(), backend_.real_size());
  const Product o = row_product(mine, w.o, attn.cols);
  if (plain(w.plan)) {
    backend_.finish_add_norm(o, h, w.norm2.weight.get(), config_.rms_norm_eps, x);
  } else {
    add_output(w.plan, w.output_norm1, o, h);
    if (w.plan.normalises_input()) normalise(h, w.norm2, x);
  }
  record(Site::o, index, o.out, rows);
  record(Site::h1, index, h, rows);
  if (w.plan.normalises_input()) record(Site::norm2, index, x, rows);
  feed_forward(index, x, h, rows);
  record(Site::h2, index, h, rows);
}

/// The MLP, or the experts, and the residual.
void Forward::feed_forward(int index, Rows x, Rows h, std::span<const StepRow> rows) {
  const LayerWeights& w = model_.layers[std::size_t(index)];
  if (w.plan.routed) {
    const Rows sum = experts(index, x);
    add_output(w.plan, w.output_norm2, sum, h);
    return record(Site::down, index, sum, rows);
  }
  const Rows act = activations(w.plan, w.gate, w.up, x);
  record_sliced(Site::act, index, act,
                widths([](const Partition& each) { return each.mlp_columns.size(); }), rows);
  const Product down = row_product(act, w.down, config_.intermediate_size);
  if (joins_next(index)) {
    const LayerWeights& next = model_.layers[std::size_t(index) + 1];
    backend_.finish_add_norm(down, h, next.norm1.weight.get(), config_.rms_norm_eps, x);
  } else {
    add_output(w.plan, w.output_norm2, down, h);
  }
  record(Site::down, index, down.out, rows);
}

Rows Forward::activations(const LayerPlan& plan, const LinearWeights& gate, const LinearWeights& up,
                          Rows x) {
  const Format input = backend_.mode().gemm_input;
  if (!plan.gated) {
    const Product only = column_products(x, {{&up, kUp}}, input).front();
    backend_.end_linear(only);
    backend_.activate(plan.activation, only.out);
    return only.out;
  }
  const auto both = column_products(x, {{&gate, kGate}, {&up, kUp}}, input);
  const Rows act = scratch(kAct, x.rows, both[0].out.cols);
  backend_.finish_gated(plan.activation, both[0], both[1], act);
  return act;
}

void Forward::normalise(Rows x, const NormWeights& norm, Rows out) {
  if (model_.norm == NormKind::rms) {
    backend_.rms_norm(x, norm.weight.get(), config_.rms_norm_eps, out);
  } else {
    backend_.layer_norm(x, norm.weight.get(), norm.bias.get(), config_.rms_norm_eps, out);
  }
}

void Forward::add_output(const LayerPlan& plan, const NormWeights& norm, Rows y, Rows h) {
  if (!plan.normalises_output()) return backend_.add(h, y);
  const Rows normed = scratch(kOutput, y.rows, y.cols);
  normalise(y, norm, normed);
  backend_.add(h, normed);
}

void Forward::add_output(const LayerPlan& plan, const NormWeights& norm, const Product& y, Rows h) {
  if (!plan.normalises_output()) return backend_.finish_add(y, h);
  backend_.end_linear(y);
  add_output(plan, norm, y.out, h);
}

bool Forward::plain(const LayerPlan& plan) const {
  return plan.norms == NormPlace::input && model_.norm == NormKind::rms;
}

/// True when a layer's last add and the norm of the next one are one operation: nothing is read or
/// patched between them.
bool Forward::joins_next(int index) const {
  if (index < 0 || index + 1 >= int(config_.layers)) return false;
  const LayerPlan& plan = model_.layers[std::size_t(index)].plan;
  const bool next = plain(model_.layers[std::size_t(index) + 1].plan);
  return plain(plan) && !plan.routed && next && !cache_.rebuilds() && !residual_ &&
         hook_ == nullptr;
}

void Forward::record_qkv(int index, Rows q, Rows k, Rows v, std::span<const StepRow> rows) {
  const std::int64_t d = config_.head_dim;
  record_sliced(Site::q, index, q, head_widths_, rows);
  const Partition& p = model_.partition;
  const std::int64_t skip = (p.owned_kv_heads.begin - p.kv_heads.begin) * d;
  const std::int64_t owned = p.owned_kv_heads.size() * d;
  record_sliced(Site::k, index, columns(k, skip, owned, backend_.real_size()), kv_widths_, rows);
  record_sliced(Site::v, index, columns(v, skip, owned, backend_.real_size()), kv_widths_, rows);
}

/// Q and K, normalised by head where the plan says so and rotated, and V; Q only when asked for.
void Forward::project(int index, Rows x, std::span<const StepRow> rows,
                      std::span<const std::int64_t> positions, Rows* q, Rows& k, Rows& v) {
  const LayerWeights& w = model_.layers[std::size_t(index)];
  const Partition& p = model_.partition;
  std::vector<Linear> linears;
  if (q != nullptr) linears.push_back({&w.q, kQ});
  linears.push_back({&w.k, kK});
  linears.push_back({&w.v, kV});
  const auto products = column_products(x, linears, backend_.mode().gemm_input);
  const Product& key = products[linears.size() - 2];
  const Product& value = products[linears.size() - 1];
  const Product* query = q != nullptr ? products.data() : nullptr;
  const bool stops = stops_before_rope(rows);
  const Rotation rotation = stops ? Rotation{} : rotation_of(index);
  if (w.plan.qk_norm == QkNorm::row) {
    finish_with_row_norms(index, query, key, value, positions, rotation);
  } else {
    const HeadNorm norm{w.q_norm.weight.get(), w.k_norm.weight.get(), config_.rms_norm_eps};
    backend_.finish_qkv(query, key, value, p.heads.size(), p.kv_heads.size(), positions, rotation,
                        w.plan.qk_norm == QkNorm::head ? &norm : nullptr);
  }
  if (q != nullptr) *q = products[0].out;
  k = key.out;
  v = value.out;
  if (stops) finish_rotation(index, q, k, rows, positions);
}

Rotation Forward::rotation_of(int index) const {
  const int rope = model_.layers[std::size_t(index)].plan.rope;
  if (rope < 0) return {};
  const RopeTable& table = model_.ropes[std::size_t(rope)];
  return {table.cosine.get(), table.sine.get(), table.dims};
}

void Forward::finish_with_row_norms(int index, const Product* q, const Product& k, const Product& v,
                                    std::span<const std::int64_t> positions,
                                    const Rotation& rotation) {
  const LayerWeights& w = model_.layers[std::size_t(index)];
  const Partition& p = model_.partition;
  if (q != nullptr) {
    backend_.end_linear(*q);
    normalise_row(q->out, p.heads, p.heads, head_widths_, w.q_norm);
    if (rotation.dims > 0) backend_.rope(q->out, p.heads.size(), positions, rotation);
  }
  backend_.end_linear(k);
  normalise_row(k.out, p.kv_heads, p.owned_kv_heads, kv_widths_, w.k_norm);
  if (rotation.dims > 0) backend_.rope(k.out, p.kv_heads.size(), positions, rotation);
  backend_.end_linear(v);
}

void Forward::normalise_row(Rows x, Span has, Span owned, const std::vector<std::int64_t>& widths,
                            const NormWeights& norm) {
  if (comm_.size() == 1) {
    return backend_.rms_norm(x, norm.weight.get(), config_.rms_norm_eps, x);
  }
  const std::int64_t d = config_.head_dim;
  const std::size_t real = backend_.real_size();
  const Rows own = scratch(kOwnHeads, x.rows, owned.size() * d);
  backend_.copy(columns(x, (owned.begin - has.begin) * d, own.cols, real), own);
  const Rows all = gather_columns(own, widths, kAllHeads);
  backend_.rms_norm(all, norm.weight.get(), config_.rms_norm_eps, all);
  backend_.copy(columns(all, has.begin * d, x.cols, real), x);
}

/// Stores the rows' exact values, or codes what every query sees coded.
void Forward::store_kv(int index, Rows k, Rows v, std::span<const StepRow> rows,
                       std::span<const std::int64_t> slots, bool again) {
  const CachePolicy* policy = cache_.policy();
  if (policy != nullptr && policy->positions_in_cache()) k = scratch(kPlainK, k.rows, k.cols);
  if (policy != nullptr && !policy->changes_before_rope() && policy->changes(index, true)) {
    cache_.change(index, true, k, positions_of(rows));
  }
  if (policy != nullptr && policy->changes(index, false)) {
    cache_.change(index, false, v, positions_of(rows));
  }
  if (cache_.shipped() != nullptr) {
    cache_.update_shipped(index, k, v, sequences_of(rows), positions_of(rows));
  }
  if (cache_.keeps_exact()) {
    backend_.write_kv(k, v, slots, model_.partition.kv_heads.size(), cache_.mode().page_size,
                      cache_.k_pool(index), cache_.v_pool(index));
  }
  if (policy != nullptr) code_stored(index, k, v, rows, again);
}

Rows Forward::embed(std::span<const StepRow> rows, std::span<const std::int32_t> ids,
                    std::span<const std::int32_t> position_ids, int buffer) {
  const std::int64_t hidden = config_.hidden_size;
  const Rows h = scratch(buffer, std::int64_t(rows.size()), hidden);
  const Rows table{model_.embedding.get(), model_.partition.vocabulary.size(), hidden, hidden};
  if (comm_.size() == 1) {
    backend_.gather(table, ids, h);
  } else {
    exchange_embeddings(table, ids, h);
  }
  if (model_.embedding_scale != 0) backend_.scale(h, model_.embedding_scale);
  if (model_.position_embedding.get() != nullptr) {
    model_.position_embedding.require(position_ids);
    const Rows at = scratch(kOutput, h.rows, hidden);
    backend_.gather({model_.position_embedding.get(), config_.context, hidden, hidden},
                    position_ids, at);
    backend_.add(h, at);
  }
  record(Site::embed, -1, h, rows);
  return h;
}

/// A rank looks up the ids of its own vocabulary; the others' rows arrive as bytes, rank by rank.
void Forward::exchange_embeddings(Rows table, std::span<const std::int32_t> ids, Rows h) {
  std::vector<std::int32_t> mine, order(ids.size());
  std::vector<std::size_t> sizes;
  std::int32_t at = 0;
  for (const Partition& each : partitions_) {
    const std::int32_t first = at;
    for (std::size_t r = 0; r < ids.size(); ++r) {
      const std::int32_t id = ids[r];
      if (id < each.vocabulary.begin || id >= each.vocabulary.end) continue;
      order[r] = at++;
      if (each.rank == comm_.rank()) mine.push_back(std::int32_t(id - each.vocabulary.begin));
    }
    sizes.push_back(std::size_t((at - first) * h.cols) * backend_.real_size());
  }
  const Rows local = scratch(kEmbedded, std::int64_t(mine.size()), h.cols);
  backend_.gather(table, mine, local);
  const Rows all = scratch(kGathered, h.rows, h.cols);
  comm_.all_gather(local.data, all.data, sizes);
  backend_.gather(all, order, h);
}

Rows Forward::attend(int index, Rows q, std::span<const StepRow> rows) {
  const Rows local = scratch(kAttn, q.rows, q.cols);
  if (cache_.shipped() != nullptr) {
    attend_shipped(index, q, rows, local);
  } else if (cache_.policy() == nullptr) {
    backend_.attention(q, attention_, cache_.k_pool(index), cache_.v_pool(index), local);
  }
  if (cache_.policy() != nullptr && cache_.policy()->positions_in_cache()) {
    attend_in_cache(index, q, rows, local);
  } else {
    for (const Phase& phase : phases_) attend_phase(index, phase, q, rows, local);
  }
  const Rows all = gather_columns(local, head_widths_, kAttnFull);
  apply_row_hook(RowSite::attn, index, all, rows);
  return all;
}

Rows Forward::logits(Rows h, std::span<const StepRow> rows) {
  if (wanted_.empty()) return {};
  const Rows x = scratch(kWanted, std::int64_t(wanted_.size()), h.cols);
  Rows from = h;
  if (wanted_.size() < rows.size()) {
    backend_.gather(h, wanted_, x);
    from = x;
  }
  normalise(from, model_.final_norm, x);
  std::vector<StepRow> wanting;
  for (const std::int32_t r : wanted_) wanting.push_back(rows[std::size_t(r)]);
  record(Site::final_norm, int(config_.layers), x, wanting);
  const Mode& mode = backend_.mode();
  const Format kept = mode.wide() ? Format::f64 : Format::f32;  // logits are not rounded
  const Product local = column_products(x, {{&model_.head, kLocalLogits}}, mode.head_input).front();
  backend_.finish(local.parts, *local.matrix, local.row_scale, local.bias, kept, local.out);
  if (config_.logit_softcap > 0) backend_.softcap(local.out, config_.logit_softcap);
  return gather_columns(local.out, widths([](const Partition& p) { return p.vocabulary.size(); }),
                        kLogits);
}

void Forward::record(Site site, int layer, Rows x, std::span<const StepRow> rows) {
  if (recorder_ == nullptr || rows.empty()) return;
  if (recorder_->wants_values(site, layer)) recorder_->give_values(site, layer, rows, x, backend_);
  if (!recorder_->wants(site)) return;
  std::vector<Digest> digests(rows.size());
  backend_.digests(x, digests);
  recorder_->record(site, layer, rows, digests);
}

void Forward::record_sliced(Site site, int layer, Rows local, std::span<const std::int64_t> widths,
                            std::span<const StepRow> rows) {
  if (!wants_any(site, layer)) return;
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

}  // namespace isobit
