// GEMM, RMSNorm, attention and softmax as the backend offers them to the forward pass.
#include "runtime/run/operation_shapes.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "runtime/kv_layout.h"
#include "runtime/numerics/segments.h"
#include "runtime/run/operation_data.h"

namespace isobit {
namespace {

constexpr double kEps = 1e-5;
constexpr std::int32_t kPageSize = 16;

/// x * weights, scaled, biased and rounded.
class GemmRun final : public ShapeRun {
 public:
  GemmRun(Backend& backend, const OperationRequest& request, const OperationShape& shape,
          std::uint64_t seed)
      : ShapeRun(backend, request, shape, seed), x_(seed, request.kind, shape.id, "x") {
    const OperandStream weights(seed, request.kind, shape.id, "weights");
    const auto read = [this, weights](std::int64_t row, std::span<float> out) {
      std::vector<double> values(out.size());
      if (request_.data == OperandData::cancelling) {
        weights.mirrored(Format::f32, row, values);
      } else {
        weights.draw(OperandData::random, Format::f32, row, values);
      }
      std::transform(values.begin(), values.end(), out.begin(), [](double v) { return float(v); });
    };
    MatrixSource source;
    source.name = shape.id;
    source.outputs = shape.n;
    source.inputs = shape.k;
    source.bounds = segment_bounds(shape.k, kOperationSegments);
    source.format = backend.mode().matrix;
    source.read = read;
    source.amax = [read, k = shape.k](std::int64_t row) {
      std::vector<float> values(std::size_t(k), 0);
      read(row, values);
      float most = 0;
      for (const float v : values) most = std::max(most, std::abs(v));
      return most;
    };
    matrix_ = backend.load_matrix(source);
    if (!shape.bias) return;
    std::vector<double> bias(std::size_t(shape.n));
    // Beside subnormal sums another bias would be all that is left of them.
    const bool small = request.data == OperandData::subnormal;
    OperandStream(seed, request.kind, shape.id, "bias")
        .draw(small ? request.data : OperandData::random, backend.mode().bias, 0, bias);
    bias_.emplace(backend, 1, shape.n, request.align, 0);
    bias_->set(0, bias);
  }

  [[nodiscard]] std::int64_t inputs() const override { return shape_.k; }
  [[nodiscard]] std::int64_t outputs() const override { return shape_.n; }
  [[nodiscard]] bool strided() const override { return true; }

  void fill(std::int64_t who, std::span<double> out) const override {
    const Format format = backend_.mode().stored;
    if (who >= 0) return x_.draw(request_.data, format, who, out);
    OperandStream(seed_, request_.kind, shape_.id, "neighbours")
        .neighbour(request_.neighbours, format, -1 - who, out);
  }

  Rows run(const Launch& launch, const Operand& in, const Operand& out) override {
    const std::int64_t rows = std::int64_t(launch.size());
    const void* scale = nullptr;
    backend_.gemm(rounded(in, scale), *matrix_, out.rows());
    dense_.emplace(backend_, rows, shape_.n, 0, 0);
    backend_.copy(out.rows(), dense_->rows());
    const Rows parts[] = {dense_->rows()};
    backend_.finish(parts, *matrix_, scale, bias_ ? bias_->rows().data : nullptr,
                    backend_.mode().stored, dense_->rows());
    return dense_->rows();
  }

 private:
  /// The rows as the product takes them (forward_linear.cc), lying as those that were given.
  Rows rounded(const Operand& in, const void*& scale) {
    const Mode& mode = backend_.mode();
    if (!matrix_->scaled && (mode.gemm_input == mode.stored || mode.wide())) return in.rows();
    const Rows x = in.rows();
    if (matrix_->scaled) {
      amax_.emplace(backend_, 1, x.rows, 0, 0);
      scale_.emplace(backend_, 1, x.rows, 0, 0);
      backend_.amax(x, amax_->rows().data);
      backend_.scales(amax_->rows().data, 1, x.rows, mode.gemm_input, scale_->rows().data);
      scale = scale_->rows().data;
    }
    const Operand dense(backend_, x.rows, x.cols, 0, 0);
    backend_.quantize(x, scale, mode.gemm_input, dense.rows());
    rounded_.emplace(backend_, x.rows, x.cols, in.offset(), in.gap());
    backend_.copy(dense.rows(), rounded_->rows());
    return rounded_->rows();
  }

  OperandStream x_;
  std::shared_ptr<WeightMatrix> matrix_;
  std::optional<Operand> bias_, dense_, amax_, scale_, rounded_;
};

class NormRun final : public ShapeRun {
 public:
  NormRun(Backend& backend, const OperationRequest& request, const OperationShape& shape,
          std::uint64_t seed)
      : ShapeRun(backend, request, shape, seed),
        weight_(backend, 1, shape.width, request.align, 0) {
    std::vector<double> values(std::size_t(shape.width));
    OperandStream(seed, request.kind, shape.id, "weights")
        .draw(OperandData::random, Format::f32, 0, values);
    for (double& value : values) value = in_format(backend.mode().weight, value);
    weight_.set(0, values);
  }
  [[nodiscard]] std::int64_t inputs() const override { return shape_.width; }
  [[nodiscard]] std::int64_t outputs() const override { return shape_.width; }
  [[nodiscard]] bool strided() const override { return false; }

  void fill(std::int64_t who, std::span<double> out) const override {
    const Format format = backend_.mode().stored;
    const char* const role = who >= 0 ? "x" : "neighbours";
    const OperandStream stream(seed_, request_.kind, shape_.id, role);
    if (who >= 0) return stream.draw(request_.data, format, who, out);
    stream.neighbour(request_.neighbours, format, -1 - who, out);
  }

  Rows run(const Launch&, const Operand& in, const Operand& out) override {
    backend_.rms_norm(in.rows(), weight_.rows().data, kEps, out.rows());
    return out.rows();
  }

 private:
  Operand weight_;
};

/// Keys and values of several sequences, each on pages of its own.
class PagedKeys {
 public:
  PagedKeys(Backend& backend, std::int64_t kv_heads, std::int64_t d,
            std::vector<std::int64_t> lengths)
      : backend_(backend), kv_heads_(kv_heads), d_(d), lengths_(std::move(lengths)) {
    std::int32_t pages = 0;
    for (const std::int64_t length : lengths_) {
      std::vector<std::int32_t>& table = tables_.emplace_back();
      for (std::int64_t at = 0; at < length; at += kPageSize) table.push_back(pages++);
    }
    const PageShape shape = page_shape(kv_heads, d, kPageSize);
    k_ = DeviceMemory(backend, std::size_t(shape.k_page * pages) * backend.cache_size());
    v_ = DeviceMemory(backend, std::size_t(shape.v_page * pages) * backend.cache_size());
  }

  [[nodiscard]] std::int64_t length(std::size_t s) const { return lengths_[s]; }
  [[nodiscard]] const std::int32_t* table(std::size_t s) const { return tables_[s].data(); }
  [[nodiscard]] KvPools pools() const { return {k_.get(), v_.get(), nullptr, nullptr}; }

  /// Writes a sequence; fill(key, head, numbers of a key, of a value).
  template <class Fill>
  void write(std::size_t s, const Fill& fill) {
    constexpr std::int64_t kAtOnce = 256;
    const std::int64_t cols = kv_heads_ * d_;
    for (std::int64_t first = 0; first < lengths_[s]; first += kAtOnce) {
      const std::int64_t count = std::min(kAtOnce, lengths_[s] - first);
      std::vector<double> k(std::size_t(count * cols)), v(k.size());
      std::vector<std::int64_t> slots;
      for (std::int64_t i = 0; i < count; ++i) {
        const std::int64_t at = first + i;
        slots.push_back(tables_[s][std::size_t(at / kPageSize)] * std::int64_t(kPageSize) +
                        at % kPageSize);
        for (std::int64_t h = 0; h < kv_heads_; ++h) {
          const auto begin = std::size_t(i * cols + h * d_), size = std::size_t(d_);
          fill(at, h, std::span(k).subspan(begin, size), std::span(v).subspan(begin, size));
        }
      }
      const Operand keys(backend_, count, cols, 0, 0), values(backend_, count, cols, 0, 0);
      backend_.set_reals(k, keys.rows());
      backend_.set_reals(v, values.rows());
      backend_.write_kv(keys.rows(), values.rows(), slots, kv_heads_, kPageSize, k_.get(),
                        v_.get());
    }
  }

 private:
  Backend& backend_;
  std::int64_t kv_heads_, d_;
  std::vector<std::int64_t> lengths_;
  std::vector<std::vector<std::int32_t>> tables_;
  DeviceMemory k_, v_;
};

/// What attention and softmax share: watched sequences, then those that neighbours take in turn.
class SequencesRun : public ShapeRun {
 public:
  using ShapeRun::ShapeRun;
  [[nodiscard]] std::int64_t last_position() const override { return last_; }

 protected:
  static constexpr std::int64_t kNeighbourSequences = 4;

  /// Lengths of all sequences: the neighbours' are ragged.
  static std::vector<std::int64_t> lengths_of(std::int64_t length, std::int64_t longest) {
    std::vector<std::int64_t> out(std::size_t(kWatchedRows), length);
    out.insert(out.end(),
               {length, std::max<std::int64_t>(length / 2, 1), std::min(length + 33, longest), 1});
    return out;
  }
  static std::size_t sequence_of(std::int64_t who) {
    return std::size_t(who >= 0 ? who : kWatchedRows + (-1 - who) % kNeighbourSequences);
  }
  /// A row that sees a whole sequence.
  AttentionRows::Row whole(const PagedKeys& keys, std::size_t s) {
    AttentionRows::Row row;
    row.position = keys.length(s) - 1;
    row.table = keys.table(s);
    last_ = std::max(last_, row.position);
    return row;
  }

  std::vector<AttentionRows::Row> rows_;  // of the latest launch
  std::int64_t last_ = 0;
};

class AttentionRun final : public SequencesRun {
 public:
  AttentionRun(Backend& backend, const OperationRequest& request, const OperationShape& shape,
               std::uint64_t seed)
      : SequencesRun(backend, request, shape, seed),
        keys_(backend, shape.kv_heads, shape.head_dim,
              shape.prefill ? std::vector<std::int64_t>{shape.keys}
                            : lengths_of(shape.keys, shape.keys + 33)) {
    const std::size_t watched = shape.prefill ? 1 : std::size_t(kWatchedRows);
    for (std::size_t s = 0; s < watched; ++s) write_watched(s);
    for (std::size_t s = watched; !shape.prefill && s < watched + kNeighbourSequences; ++s) {
      const std::string name = std::to_string(s - watched);
      const OperandStream k = stream("neighbour keys " + name),
                          v = stream("neighbour values " + name);
      keys_.write(
          s, [&](std::int64_t at, std::int64_t h, std::span<double> key, std::span<double> value) {
            k.neighbour(request_.neighbours, cache(), at * shape_.kv_heads + h, key);
            v.neighbour(request_.neighbours, cache(), at * shape_.kv_heads + h, value);
          });
    }
    args_.heads = shape.heads;
    args_.kv_heads = shape.kv_heads;
    args_.head_dim = shape.head_dim;
    for (std::int64_t h = 0; h < shape.heads; ++h) {
      args_.kv_of_head.push_back(std::int32_t(h * shape.kv_heads / shape.heads));
    }
    args_.scale = 1.0 / std::sqrt(double(shape.head_dim));
    args_.page_size = kPageSize;
  }
  [[nodiscard]] std::int64_t inputs() const override { return shape_.heads * shape_.head_dim; }
  [[nodiscard]] std::int64_t outputs() const override { return inputs(); }
  [[nodiscard]] bool strided() const override { return true; }

  void fill(std::int64_t who, std::span<double> out) const override {
    const OperandStream q = stream(who >= 0 ? "queries" : "neighbour queries");
    const bool cancels = request_.data == OperandData::cancelling;
    const Format format = backend_.mode().stored;
    const auto d = std::size_t(shape_.head_dim);
    for (std::int64_t h = 0; h < shape_.heads; ++h) {
      const auto head = out.subspan(std::size_t(h) * d, d);
      if (who >= 0) {
        q.draw(cancels ? request_.data : OperandData::random, format, who * shape_.heads + h, head);
      } else {
        q.neighbour(request_.neighbours, format, (-1 - who) * shape_.heads + h, head);
      }
    }
  }

  Rows run(const Launch& launch, const Operand& in, const Operand& out) override {
    rows_.clear();
    for (const std::int64_t who : launch) rows_.push_back(row_of(who));
    args_.rows = rows_;
    backend_.attention(in.rows(), args_, keys_.pools().k, keys_.pools().v, out.rows());
    return out.rows();
  }

 private:
  [[nodiscard]] Format cache() const { return backend_.mode().cache; }
  [[nodiscard]] OperandStream stream(const std::string& role) const {
    return {seed_, request_.kind, shape_.id, role};
  }

  void write_watched(std::size_t s) {
    const OperandStream k = stream("keys " + std::to_string(s)),
                        v = stream("values " + std::to_string(s));
    const bool in_values =
        request_.data == OperandData::subnormal || request_.data == OperandData::wide;
    const OperandData data = in_values ? request_.data : OperandData::random;
    keys_.write(
        s, [&](std::int64_t at, std::int64_t h, std::span<double> key, std::span<double> value) {
          const std::int64_t row = at * shape_.kv_heads + h;
          if (request_.data == OperandData::cancelling) {
            k.mirrored(cache(), row, key);
          } else {
            k.draw(OperandData::random, cache(), row, key);
          }
          v.draw(data, cache(), row, value);
        });
  }

  /// A watched query of a prefill is one of the sequence's last, a neighbour any of it.
  AttentionRows::Row row_of(std::int64_t who) {
    if (!shape_.prefill) return whole(keys_, sequence_of(who));
    AttentionRows::Row row = whole(keys_, 0);
    row.position = who >= 0 ? shape_.keys - kWatchedRows + who : (-1 - who) * 7 % shape_.keys;
    return row;
  }

  PagedKeys keys_;
  AttentionRows args_;
};

/// The weights of one head whose query is (1, 0, …) and whose key j is (x_j, 0, …), with scale 1:
/// the scores are exactly x, and the weights its softmax.
class SoftmaxRun final : public SequencesRun {
 public:
  SoftmaxRun(Backend& backend, const OperationRequest& request, const OperationShape& shape,
             std::uint64_t seed)
      : SequencesRun(backend, request, shape, seed),
        keys_(backend, 1, kWidth, lengths_of(shape.width, shape.width)) {
    const Format cache = backend.mode().cache;
    for (std::size_t s = 0; s < std::size_t(kWatchedRows + kNeighbourSequences); ++s) {
      const bool watched = s < std::size_t(kWatchedRows);
      const OperandStream stream(seed, request.kind, shape.id, watched ? "x" : "neighbours");
      std::vector<double> x(std::size_t(keys_.length(s)));
      if (watched) {
        stream.draw(request.data, cache, std::int64_t(s), x);
      } else {
        stream.neighbour(request.neighbours, cache, std::int64_t(s), x);
      }
      keys_.write(
          s, [&](std::int64_t at, std::int64_t, std::span<double> key, std::span<double> value) {
            std::fill(key.begin(), key.end(), 0.0);
            std::fill(value.begin(), value.end(), 0.0);
            key[0] = x[std::size_t(at)];
          });
    }
    args_.heads = args_.kv_heads = 1;
    args_.head_dim = kWidth;
    args_.kv_of_head = {0};
    args_.scale = 1;
    args_.page_size = kPageSize;
  }
  [[nodiscard]] std::int64_t inputs() const override { return kWidth; }
  [[nodiscard]] std::int64_t outputs() const override { return shape_.width; }
  [[nodiscard]] bool strided() const override { return false; }

  void fill(std::int64_t, std::span<double> out) const override {
    std::fill(out.begin(), out.end(), 0.0);
    out[0] = 1;
  }

  Rows run(const Launch& launch, const Operand& in, const Operand& out) override {
    rows_.clear();
    for (const std::int64_t who : launch) rows_.push_back(whole(keys_, sequence_of(who)));
    args_.rows = rows_;
    backend_.attention_weights(in.rows(), args_, keys_.pools(), out.rows());
    return out.rows();
  }

 private:
  static constexpr std::int64_t kWidth = 8;  // the least that every backend has
  PagedKeys keys_;
  AttentionRows args_;
};

}  // namespace

ShapeRun::ShapeRun(Backend& backend, const OperationRequest& request, const OperationShape& shape,
                   std::uint64_t seed)
    : backend_(backend), request_(request), shape_(shape), seed_(seed) {}

std::unique_ptr<ShapeRun> make_shape_run(Backend& backend, const OperationRequest& request,
                                         const OperationShape& shape, std::uint64_t seed) {
  switch (request.kind) {
    case OperationKind::gemm:
      return std::make_unique<GemmRun>(backend, request, shape, seed);
    case OperationKind::attention:
      return std::make_unique<AttentionRun>(backend, request, shape, seed);
    case OperationKind::rms_norm:
      return std::make_unique<NormRun>(backend, request, shape, seed);
    case OperationKind::softmax:
      return std::make_unique<SoftmaxRun>(backend, request, shape, seed);
    case OperationKind::none:
      break;
  }
  ISOBIT_CHECK(false);
  return nullptr;
}

}  // namespace isobit
