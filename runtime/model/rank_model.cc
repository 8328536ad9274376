// Slicing and rounding of weights for one rank.

#include "runtime/model/rank_model.h"

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <new>
#include <type_traits>

#include "runtime/base/interrupt.h"
#include "runtime/base/weight_count.h"
#include "runtime/model/arch/architecture.h"
#include "runtime/model/changed_weights.h"
#include "runtime/numerics/formats.h"
#include "runtime/numerics/order.h"

namespace isobit {
namespace {

constexpr std::size_t kUploadBytes = std::size_t{4} << 20;  // of rows sent to a backend at once

/// The columns of a reduction of length n that a rank owns, and the segments' bounds in them.
Span owned_columns(std::int64_t n, const ModelConfig& config, int rank, int ranks,
                   std::vector<std::int64_t>& bounds) {
  const std::int64_t v = segments_of(n, int(config.segments));
  const std::int64_t first = v == 1 ? (rank == 0 ? 0 : 1) : v * rank / ranks;
  const std::int64_t last = v == 1 ? 1 : v * (rank + 1) / ranks;
  const Span span{segment_begin(n, first, v), segment_begin(n, last, v)};
  bounds.clear();
  for (std::int64_t s = first; s <= last; ++s)
    bounds.push_back(segment_begin(n, s, v) - span.begin);
  return span;
}

/// Bounds of all segments of a reduction that is not cut by rank.
std::vector<std::int64_t> all_bounds(std::int64_t n, const ModelConfig& config) {
  std::vector<std::int64_t> bounds;
  const Span whole = owned_columns(n, config, 0, 1, bounds);
  ISOBIT_CHECK(whole.size() == n);
  return bounds;
}

/// R of values, plus `added` as Real, written where `to` says.
void put_reals(std::span<const float> values, Format format, bool wide, void* to,
               float added = 0.0F) {
  for (std::size_t i = 0; i < values.size(); ++i) {
    const float x = round_to(format, values[i]);
    if (wide) {
      static_cast<double*>(to)[i] = added == 0.0F ? double(x) : double(x) + double(added);
    } else {
      static_cast<float*>(to)[i] = added == 0.0F ? x : x + added;
    }
  }
}

/// Rows x columns of a tensor, rounded to the format, plus `added`, as Real in backend memory.
DeviceMemory upload_rows(const Tensor& t, Span rows, Span columns, Format format, Backend& backend,
                         float added = 0.0F) {
  const std::size_t size = backend.real_size();
  const auto row_bytes = std::size_t(columns.size()) * size;
  DeviceMemory memory(backend, std::size_t(rows.size()) * row_bytes);
  count_weight_bytes(std::size_t(rows.size()) * row_bytes);
  if (row_bytes == 0) return memory;  // a bias of a rank without heads
  const auto share = std::max<std::int64_t>(1, std::int64_t(kUploadBytes / (row_bytes + 1)));
  std::vector<float> row(std::size_t(columns.size()));
  std::vector<std::byte> staged(std::size_t(std::min(share, rows.size())) * row_bytes);
  for (std::int64_t first = rows.begin; first < rows.end; first += share) {
    const std::int64_t count = std::min(share, rows.end - first);
    for (std::int64_t r = 0; r < count; ++r) {
      t.read_row(first + r, columns.begin, columns.end, row);
      put_reals(row, format, backend.mode().wide(), staged.data() + std::size_t(r) * row_bytes,
                added);
    }
    backend.upload(static_cast<char*>(memory.get()) + std::size_t(first - rows.begin) * row_bytes,
                   staged.data(), std::size_t(count) * row_bytes);
  }
  return memory;
}

/// fp64 values as Real: rounded to nearest even where Real is fp32.
DeviceMemory upload_doubles(const std::vector<double>& values, Backend& backend) {
  DeviceMemory memory(backend, values.size() * backend.real_size());
  if (backend.mode().wide()) {
    backend.upload(memory.get(), values.data(), values.size() * sizeof(double));
  } else {
    const std::vector<float> narrow(values.begin(), values.end());
    backend.upload(memory.get(), narrow.data(), narrow.size() * sizeof(float));
  }
  return memory;
}

/// max |x|, NaN (canonical) when there is one: magnitudes order as their bits do.
float largest_magnitude(std::span<const float> row) {
  constexpr std::size_t kLanes = 16;
  std::uint32_t lanes[kLanes] = {};
  std::size_t i = 0;
  for (; i + kLanes <= row.size(); i += kLanes) {
    for (std::size_t j = 0; j < kLanes; ++j) {
      lanes[j] = std::max(lanes[j], bits_of(row[i + j]) & 0x7fffffffU);
    }
  }
  for (; i < row.size(); ++i) lanes[0] = std::max(lanes[0], bits_of(row[i]) & 0x7fffffffU);
  return canonical(float_of(*std::max_element(lanes, lanes + kLanes)));
}

/// Fills the members that a family's table names with this rank's slices of their tensors.
class Builder {
 public:
  Builder(const LoadedModel& model, Backend& backend, Backend& loader, const WeightChange& change,
          RankModel& out)
      : model_(model),
        config_(model.config),
        architecture_(architecture_of(model.config)),
        backend_(backend),
        loader_(loader),
        change_(change),
        p_(out.partition),
        out_(out) {}

  void build() {
    out_.norm = architecture_.norm;
    if (architecture_.scales_embedding) {
      const double root = sqrt_(double(config_.hidden_size));
      const Mode& mode = backend_.mode();
      out_.embedding_scale = mode.wide() ? root : double(round_to(mode.weight, float(root)));
    }
    for (const TensorRow& row : architecture_.before) fill(row, "", nullptr);
    for (const TensorRow& row : architecture_.after) fill(row, "", nullptr);
    for (std::int64_t i = 0; i < config_.layers; ++i) {
      if (interrupted != 0) throw BackendError("interrupted while the weights were loaded");
      LayerWeights& layer = out_.layers.emplace_back();
      layer.plan = architecture_.plan(config_, i);
      const std::string prefix = layer_prefix(architecture_, i);
      for (const TensorRow& row : architecture_.layer) fill(row, prefix, &layer);
      if (!layer.plan.routed) continue;
      layer.experts.resize(std::size_t(config_.experts));
      for (std::int64_t e = 0; e < config_.experts; ++e) {
        expert_ = std::size_t(e);
        const std::string name = expert_prefix(architecture_, i, e);
        for (const TensorRow& row : architecture_.experts.rows) fill(row, name, &layer);
      }
    }
    out_.changed_weights = changed_weights_;
  }

 private:
  void fill(const TensorRow& row, const std::string& prefix, LayerWeights* layer) {
    const std::string name = prefix + row.name;
    std::visit(
        [&]<class Member, class Owner>(Member Owner::*member) {
          if constexpr (std::is_same_v<Owner, LayerWeights>) {
            if (has(row.weight, layer->plan)) make(row, name, layer->*member);
          } else if constexpr (std::is_same_v<Owner, ExpertWeights>) {
            make(row, name, layer->experts[expert_].*member);
          } else {
            make(row, name, out_.*member);
          }
        },
        row.fills);
  }

  static bool has(When when, const LayerPlan& plan) {
    return when == When::dense ? !plan.routed : when != When::routed || plan.routed;
  }

  void make(const TensorRow& row, const std::string& name, NormWeights& to) {
    ISOBIT_CHECK(row.outputs == Dimension::one);
    const Span whole{0, extent(row.inputs, config_)};
    to.weight = upload_rows(tensor(name + ".weight"), {0, 1}, whole, backend_.mode().weight,
                            backend_, architecture_.norms_add_one ? 1.0F : 0.0F);
    if (architecture_.norm != NormKind::layer) return;
    if (const Tensor* bias = model_.weights.find(name + ".bias")) {
      to.bias = upload_rows(*bias, {0, 1}, whole, backend_.mode().weight, backend_);
    } else {  // a GGUF need not hold it
      to.bias = upload_doubles(std::vector<double>(std::size_t(whole.size())), backend_);
      count_weight_bytes(std::size_t(whole.size()) * backend_.real_size());
    }
  }
  void make(const TensorRow& row, const std::string& name, EmbeddingTable& to) {
    const Tensor& table = tensor(name + ".weight");
    const Span rows = span_of(row.outputs);
    const bool on_host = backend_.describe().device == "cpu";
    to = on_host ? EmbeddingTable::on_demand(table, rows, backend_.mode())
                 : EmbeddingTable::uploaded(table, rows, backend_);
  }
  void make(const TensorRow& row, const std::string& name, LinearWeights& to) {
    const bool is_head = &to == &out_.head;
    const Tensor& weight = tensor(is_head && config_.tied_embeddings
                                      ? weight_that_fills(architecture_, &RankModel::embedding)
                                      : name + ".weight");
    const bool as_head = is_head || row.outputs == Dimension::experts;
    const bool is_table = is_head && config_.tied_embeddings;  // embeddings are never changed
    to.matrix = matrix(weight, span_of(row.outputs), span_of(row.inputs), bounds_of(row.inputs),
                       as_head ? backend_.mode().head : backend_.mode().matrix, !is_table);
    if (const Tensor* bias = model_.weights.find(name + ".bias")) {
      to.bias = upload_rows(*bias, {0, 1}, span_of(row.outputs), backend_.mode().bias, backend_);
    }
  }

  const Tensor& tensor(const std::string& name) const {
    const Tensor* found = model_.weights.find(name);
    ISOBIT_CHECK(found != nullptr);  // load_model has checked names and shapes
    return *found;
  }

  /// The part of a dimension that this rank owns.
  [[nodiscard]] Span span_of(Dimension axis) const {
    const std::int64_t d = config_.head_dim;
    switch (axis) {
      case Dimension::vocabulary:
        return p_.vocabulary;
      case Dimension::query:
        return {p_.heads.begin * d, p_.heads.end * d};
      case Dimension::key_value:
        return {p_.kv_heads.begin * d, p_.kv_heads.end * d};
      case Dimension::attention:
        return p_.attention_columns;
      case Dimension::mlp:
        return p_.mlp_columns;
      case Dimension::expert:
        return p_.expert_columns;
      case Dimension::one:
      case Dimension::hidden:
      case Dimension::head:
      case Dimension::experts:
      case Dimension::position:
        break;
    }
    return {0, extent(axis, config_)};
  }
  /// Owned segments of a reduction over a dimension, in slice columns.
  [[nodiscard]] std::vector<std::int64_t> bounds_of(Dimension axis) const {
    if (axis == Dimension::attention) return p_.attention_bounds;
    if (axis == Dimension::mlp) return p_.mlp_bounds;
    if (axis == Dimension::expert) return p_.expert_bounds;
    return all_bounds(extent(axis, config_), config_);
  }

  std::shared_ptr<WeightMatrix> matrix(const Tensor& t, Span rows, Span columns,
                                       const std::vector<std::int64_t>& bounds, Format format,
                                       bool may_change) {
    MatrixSource source;
    source.name = t.name;
    source.outputs = rows.size();
    source.inputs = columns.size();
    source.bounds = bounds;
    source.format = format;
    if (may_change && change_.changes()) return changed_matrix(t, rows, columns, std::move(source));
    source.read = [&t, rows, columns](std::int64_t row, std::span<float> out) {
      t.read_row(rows.begin + row, columns.begin, columns.end, out);
    };
    source.amax = [&t, rows](std::int64_t row) {
      std::vector<float> whole(std::size_t(t.cols));
      t.read_row(rows.begin + row, 0, t.cols, whole);
      return largest_magnitude(whole);
    };
    source.blocks.format = columns.size() > 0 ? block_format_of(t.type) : BlockFormat::none;
    source.blocks.skip = columns.begin % layout_of(t.type).elements;
    source.blocks.row = [&t, rows, columns](std::int64_t row) {
      return t.stored(rows.begin + row, columns.begin);
    };
    return loader_.load_matrix(source);
  }

  /// The same of a changed tensor: no blocks are kept of it.
  std::shared_ptr<WeightMatrix> changed_matrix(const Tensor& t, Span rows, Span columns,
                                               MatrixSource source) {
    const auto changed = ChangedTensor::make(t, change_, rows.begin, rows.end);
    if (!changed) throw BackendError(changed.error().message);
    source.read = [&changed, rows, columns, this](std::int64_t row, std::span<float> out) {
      changed_weights_ += changed->read_row(rows.begin + row, columns.begin, columns.end, out);
    };
    source.amax = [&changed, &t, rows](std::int64_t row) {
      std::vector<float> whole(std::size_t(t.cols));
      changed->read_row(rows.begin + row, 0, t.cols, whole);
      return largest_magnitude(whole);
    };
    return loader_.load_matrix(source);
  }

  const LoadedModel& model_;
  const ModelConfig& config_;
  const Architecture& architecture_;
  Backend& backend_;
  Backend& loader_;
  const WeightChange& change_;
  const Partition& p_;
  RankModel& out_;
  std::size_t expert_ = 0;                         // that is being filled
  std::atomic<std::int64_t> changed_weights_ = 0;  // a loader reads on several threads
};

}  // namespace

std::string refuse_ranks(const ModelConfig& config, int ranks) {
  if (ranks < 1 || config.segments % ranks != 0 || (ranks & (ranks - 1)) != 0) {
    return std::to_string(ranks) + " ranks do not divide the model's " +
           std::to_string(config.segments) +
           " segments into complete subtrees; use a power of two up to " +
           std::to_string(std::min<std::int64_t>(config.segments, kDigestSegments));
  }
  if (ranks > kDigestSegments) {
    return std::to_string(ranks) + " ranks exceed the 8 segments of the vocabulary";
  }
  return "";
}

Partition::Partition(const ModelConfig& config, int rank_, int ranks_)
    : rank(rank_), ranks(ranks_) {
  ISOBIT_CHECK(refuse_ranks(config, ranks).empty() && rank >= 0 && rank < ranks);
  const std::int64_t group = config.heads / config.kv_heads;
  const auto heads_of = [&](int r) {
    return Span{config.heads * r / ranks, config.heads * (r + 1) / ranks};
  };
  const auto kv_of = [&](Span h) {
    return h.size() == 0 ? Span{h.begin / group, h.begin / group}
                         : Span{h.begin / group, (h.end - 1) / group + 1};
  };
  heads = heads_of(rank);
  kv_heads = kv_of(heads);
  std::int64_t taken = 0;  // KV heads reported by earlier ranks
  for (int r = 0; r < rank; ++r) taken = std::max(taken, kv_of(heads_of(r)).end);
  owned_kv_heads = {std::min(std::max(kv_heads.begin, taken), kv_heads.end), kv_heads.end};
  vocabulary = {
      segment_begin(config.vocab_size, kDigestSegments * rank / ranks, kDigestSegments),
      segment_begin(config.vocab_size, kDigestSegments * (rank + 1) / ranks, kDigestSegments)};
  attention_columns =
      owned_columns(config.heads * config.head_dim, config, rank, ranks, attention_bounds);
  mlp_columns = owned_columns(config.intermediate_size, config, rank, ranks, mlp_bounds);
  if (config.experts > 0) {
    expert_columns = owned_columns(config.expert_size, config, rank, ranks, expert_bounds);
  }
}

EmbeddingTable EmbeddingTable::uploaded(const Tensor& source, Span vocabulary, Backend& backend) {
  EmbeddingTable table;
  table.device_ = upload_rows(source, vocabulary, {0, source.cols}, backend.mode().weight, backend);
  return table;
}

EmbeddingTable EmbeddingTable::on_demand(const Tensor& source, Span vocabulary, const Mode& mode) {
  EmbeddingTable table;
  table.source_ = &source;
  table.vocabulary_ = vocabulary;
  table.format_ = mode.weight;
  table.wide_ = mode.wide();
  table.present_.resize(std::size_t(vocabulary.size()));
  const auto elements = std::size_t(std::max<std::int64_t>(1, vocabulary.size()) * source.cols);
  const std::size_t bytes = elements * (mode.wide() ? sizeof(double) : sizeof(float));
  void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  count_weight_bytes(vocabulary.size() > 0 ? bytes : 0);
  table.memory_ = {memory, [bytes](void* m) { ::munmap(m, bytes); }};
  return table;
}

void EmbeddingTable::require(std::span<const std::int32_t> ids) const {
  if (source_ == nullptr) return;
  std::vector<float> values(std::size_t(source_->cols));
  const std::size_t row_bytes = values.size() * (wide_ ? sizeof(double) : sizeof(float));
  for (const std::int32_t id : ids) {
    if (id < vocabulary_.begin || id >= vocabulary_.end) continue;
    const auto row = std::size_t(id - vocabulary_.begin);
    if (present_[row]) continue;
    present_[row] = true;
    source_->read_row(id, 0, source_->cols, values);
    put_reals(values, format_, wide_, static_cast<char*>(memory_.get()) + row * row_bytes);
  }
}

std::unique_ptr<RankModel> build_rank_model(const LoadedModel& model, Backend& backend,
                                            Backend& loader, int rank, int ranks,
                                            const SequenceLengths& lengths,
                                            const WeightChange& change) {
  auto out = std::make_unique<RankModel>(model.config, Partition(model.config, rank, ranks));
  Builder(model, backend, loader, change, *out).build();
  extend_positions(*out, backend, lengths);
  return out;
}

void extend_positions(RankModel& model, Backend& backend, const SequenceLengths& lengths) {
  if (!model.rope_rows.extend(model.config, lengths.positions, lengths.prompts)) return;
  model.ropes.resize(model.config.ropes.size());
  for (std::size_t i = 0; i < model.ropes.size(); ++i) {
    const Rope& rope = model.config.ropes[i];
    const RopeTables tables =
        make_rope_tables(model.config, rope, model.rope_rows.all(),
                         [&](const RopeAngle& angle) { return backend.turn(angle); });
    model.ropes[i].cosine = upload_doubles(tables.cosine, backend);
    model.ropes[i].sine = upload_doubles(tables.sine, backend);
    model.ropes[i].dims = model.config.rotary_dims(rope);
  }
}

}  // namespace isobit
