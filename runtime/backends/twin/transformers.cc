// Norms, RoPE, attention and activations of transformers (transformers.h).
#include "runtime/backends/twin/transformers.h"

#include <algorithm>

namespace isobit::twin {
namespace {

constexpr std::int64_t kGrain = 4096;  // elements worth a thread

TensorUnit unit_for(const Mode& mode) {
  const auto unit = tensor_unit(TensorCore::sm90, mode.stored);
  ISOBIT_CHECK(unit.has_value());
  return *unit;
}

template <class F>
void for_shares(cpu::ThreadPool& pool, std::int64_t items, std::int64_t work, const F& f) {
  pool.run(work / kGrain + 1, [&](int index, int count) {
    const cpu::Range range = cpu::share_of(items, index, count);
    for (std::int64_t i = range.begin; i < range.end; ++i) f(i);
  });
}

}  // namespace

bool is_of_transformers(const ProductBook& book) {
  return text_at(book.keys, "engine") == "exec:transformers";
}

TransformersTwin::TransformersTwin(const Mode& mode, const cpu::Kernels& kernels, int threads,
                                   Book book, bool forecast, const SpecialTables& tables)
    : ProductTwin(mode, kernels, threads, {}, std::move(book), forecast),
      tables_(tables),
      fused_(kernels, unit_for(mode), tables),
      multiprocessors_(multiprocessors_of(this->book().keys)) {}

BackendInfo TransformersTwin::describe() const {
  BackendInfo info = ProductTwin::describe();
  std::set<std::string> kernels;
  for (const AttentionLine* line : used_) kernels.insert(text_of(line->choice));
  std::string names;
  for (const std::string& kernel : kernels) names += (names.empty() ? "" : ", ") + kernel;
  info.kernels += ", attention " + names;
  return info;
}

void TransformersTwin::lacks(const std::string& what) const {
  refuse("is of transformers' Llama: its twin has no " + what);
}

bool TransformersTwin::begin_step(const StepInputs& inputs) {
  sequences_.clear();
  step_rows_ = std::int64_t(inputs.ids.size());
  wanted_ = std::int64_t(inputs.wanted.size());
  if (inputs.places.size() != 1) lacks("sliding windows");
  const std::vector<AttentionRows::Row>& rows = inputs.places.front();
  for (std::int64_t r = 0; r < step_rows_; ++r) {
    const AttentionRows::Row& row = rows[std::size_t(r)];
    if (row.first != 0) lacks("sliding windows");
    const bool more = r > 0 && rows[std::size_t(r - 1)].table == row.table &&
                      rows[std::size_t(r - 1)].position + 1 == row.position;
    if (!more) sequences_.push_back({r, 0, 0});
    ++sequences_.back().rows;
    sequences_.back().length = row.position + 1;
  }
  width_ = columns_ = 0;
  for (const Sequence& s : sequences_) {
    width_ = std::max(width_, s.rows);
    columns_ = std::max(columns_, s.length);
  }
  padded_ = std::any_of(sequences_.begin(), sequences_.end(),
                        [&](const Sequence& s) { return s.length < columns_; });
  for (const Sequence& s : sequences_) {
    // A prompt's rows are all in one call, and a decoding step has one row each.
    if (s.rows != s.length && (s.rows != 1 || width_ != 1)) lacks("prompts in several steps");
  }
  return false;
}

std::int64_t TransformersTwin::call_rows(std::int64_t rows) const {
  if (step_rows_ == 0) return rows;  // one operation, outside of a step
  const bool last_rows = rows == wanted_ && rows != step_rows_;
  return std::int64_t(sequences_.size()) * (last_rows ? 1 : width_);
}

Turn TransformersTwin::turn(const RopeAngle& angle) const {
  if (!angle.plain) lacks("scaled RoPE");
  // 1 / base^(2 i / dims): the power is fp32, correctly rounded, and so is the quotient.
  const double exponent = double(float(2 * angle.pair) / float(angle.dims));
  const float power = float(exp_(log_(angle.base) * exponent));
  const float radians = float(angle.position) * (1.0f / power);
  if (!(radians < kLargestCudaAngle)) lacks("position " + std::to_string(angle.position));
  return {double(round_to(mode_.stored, cuda_cos(radians))),
          double(round_to(mode_.stored, cuda_sin(radians)))};
}

void TransformersTwin::rms_norm(Rows x, const void* weight, double eps, Rows out) {
  const std::int64_t n = x.cols, rows = call_rows(step_rows_ == 0 ? x.rows : step_rows_);
  if (!torch_rows_known(n, rows)) lacks("norm over rows of " + std::to_string(n));
  const TorchRows threads = norm_threads(n, rows);
  const float* w = static_cast<const float*>(weight);
  for_shares(pool_, x.rows, x.rows * n, [&](std::int64_t r) {
    thread_local std::vector<float> sums;
    const float* from = cpu::row<float>(x, r);
    float* to = cpu::row<float>(out, r);
    const float sum = torch_row_sum(
        threads, n, [from](std::int64_t i) { return from[i] * from[i]; }, sums);
    const float mean = sum * (1.0f / float(n));
    const float inverse = special_rsqrt(tables_, mean + float(eps));
    for (std::int64_t i = 0; i < n; ++i) {
      to[i] = round_to(mode_.stored, w[i] * round_to(mode_.stored, from[i] * inverse));
    }
  });
}

void TransformersTwin::gemm(Rows x, const WeightMatrix& matrix, Rows out) {
  gemm_of_call(x, matrix, call_rows(x.rows), out);
}

void TransformersTwin::finish(std::span<const Rows> parts, const WeightMatrix& matrix,
                              const void* row_scale, const void* bias, Format, Rows out) {
  if (bias != nullptr) lacks("biases");
  if (parts.size() != 1) lacks("ranks");
  // Logits too are in the model's format.
  ProductTwin::finish(parts, matrix, row_scale, bias, mode_.stored, out);
}

void TransformersTwin::finish_qkv(const Product* q, const Product& k, const Product& v,
                                  std::int64_t heads, std::int64_t kv_heads,
                                  std::span<const std::int64_t> positions, const Rotation& rotation,
                                  const HeadNorm* norm) {
  if (norm != nullptr) lacks("norms of queries and keys");
  ProductTwin::finish_qkv(q, k, v, heads, kv_heads, positions, rotation, norm);
}

/// q cos + rotate_half(q) sin: both products and their sum are rounded.
void TransformersTwin::rope(Rows x, std::int64_t heads, std::span<const std::int64_t> positions,
                            const Rotation& rotation) {
  const std::int64_t d = x.cols / heads, half = rotation.dims / 2;
  if (rotation.dims == 0) return;
  const Format stored = mode_.stored;
  for_shares(pool_, x.rows, x.rows * x.cols, [&](std::int64_t r) {
    const std::int64_t at = positions[std::size_t(r)] * half;
    const float* c = static_cast<const float*>(rotation.cosine) + at;
    const float* s = static_cast<const float*>(rotation.sine) + at;
    for (std::int64_t h = 0; h < heads; ++h) {
      float* low = cpu::row<float>(x, r) + h * d;
      float* high = low + half;
      for (std::int64_t i = 0; i < half; ++i) {
        const float a = low[i], b = high[i];
        low[i] = round_to(stored, round_to(stored, a * c[i]) + round_to(stored, -b * s[i]));
        high[i] = round_to(stored, round_to(stored, b * c[i]) + round_to(stored, a * s[i]));
      }
    }
  });
}

void TransformersTwin::attention(Rows q, const AttentionRows& args, const void* k_pool,
                                 const void* v_pool, Rows out) {
  if (args.softcap != 0) lacks("soft caps");
  if (step_rows_ != q.rows) lacks("attention outside of a step");
  const FusedShape shape{std::int64_t(sequences_.size()),
                         args.heads,
                         args.kv_heads,
                         width_,
                         columns_,
                         args.head_dim,
                         padded_      ? FusedMask::left
                         : width_ > 1 ? FusedMask::causal
                                      : FusedMask::free};
  const AttentionLine* line = find_attention(book().attention, mode_.stored, shape);
  require(line, [&] {
    return std::string("attention of ") + mode_.name + ", heads " + std::to_string(shape.heads) +
           ":" + std::to_string(shape.kv_heads) + ", width " + std::to_string(shape.head_dim) +
           ", mask " + name_of_mask(shape.mask) + ", batch " + std::to_string(shape.batch) +
           ", queries " + std::to_string(shape.queries) + ", keys " + std::to_string(shape.keys);
  });
  used_.insert(line);
  const FusedPlan plan = plan_of(line->choice, shape);
  std::vector<FusedSequence> sequences;
  for (const Sequence& s : sequences_) {
    sequences.push_back({s.first_row, s.rows, columns_ - s.length, plan, shape});
  }
  const cpu::AttentionCall<float> task{q, args, {k_pool, v_pool, nullptr, nullptr}, out, mode_};
  fused_.run(task, sequences, pool_);
}

void TransformersTwin::gated(Activation f, Rows gate, Rows up, Rows out) {
  if (f != Activation::silu) lacks("other activation than silu");
  const std::int64_t n = gate.cols;
  for_shares(pool_, gate.rows, gate.rows * n, [&](std::int64_t r) {
    const float *g = cpu::row<float>(gate, r), *u = cpu::row<float>(up, r);
    float* to = cpu::row<float>(out, r);
    for (std::int64_t i = 0; i < n; ++i) {
      to[i] = round_to(mode_.stored, round_to(mode_.stored, cuda_silu(tables_, g[i])) * u[i]);
    }
  });
}

TorchRows TransformersTwin::norm_threads(std::int64_t n, std::int64_t rows) const {
  return torch_rows(n, rows);
}
FusedPlan TransformersTwin::plan_of(const FusedChoice& choice, const FusedShape& shape) const {
  return fused_plan(choice, shape, multiprocessors_);
}

void TransformersTwin::layer_norm(Rows, const void*, const void*, double, Rows) {
  lacks("layer_norm");
}
void TransformersTwin::activate(Activation, Rows) {
  lacks("ungated activation");
}
void TransformersTwin::scale(Rows, double) {
  lacks("scaled embedding");
}
void TransformersTwin::softcap(Rows, double) {
  lacks("soft cap");
}
void TransformersTwin::add_scaled(Rows, std::span<const std::int32_t>, std::span<const double>,
                                  Rows) {
  lacks("experts");
}

}  // namespace isobit::twin
