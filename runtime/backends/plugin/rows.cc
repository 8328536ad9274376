// What engine plugin does to rows besides products: norms, rotation, activations, attention.
#include <algorithm>
#include <cmath>
#include <map>

#include "runtime/backends/plugin/backend.h"

namespace isobit {
namespace {

static_assert(int(Activation::silu) == ISOBIT_SILU);
static_assert(int(Activation::gelu_tanh) == ISOBIT_GELU_TANH);

/// A weight of a norm as one row.
Rows one_row(const void* data, std::int64_t cols) {
  return {const_cast<void*>(data), 1, cols, cols};
}

/// Rows of memory that begins at `data`.
Rows dense(void* data, std::int64_t rows, std::int64_t cols) {
  return {data, rows, cols, cols};
}

/// Squares, their sum, and the row times its weights; `width` covers x / sqrt(mean) as well.
double bound_of_norm(double x, std::int64_t width, double weight, double bias) {
  return std::max(x, 1.0) * std::max(x, 1.0) * double(width) * std::max(weight, 1.0) + bias;
}

/// The third power is in GELU's tanh.
double bound_of_activation(double x) {
  return std::max(x, 1.0) * std::max(x, 1.0) * std::max(x, 1.0);
}

}  // namespace

void PluginBackend::rms_norm(Rows x, const void* weight, double eps, Rows out) {
  if (table_.rms_norm == nullptr) return inner_->rms_norm(x, weight, eps, out);
  if (x.rows == 0) return;
  isobit_rms_norm args{};
  args.size = sizeof args;
  args.x = rows_of(x, mode_.stored);
  args.out = output(out, mode_.stored);
  args.weight = weight;
  args.eps = eps;
  perform("rms_norm", table_.rms_norm, args,
          {{x}, [&](std::int64_t row) {
             return bound_of_norm(largest(x, row), x.cols, largest(one_row(weight, x.cols), 0), 0);
           }});
  give(out);
}

void PluginBackend::layer_norm(Rows x, const void* weight, const void* bias, double eps, Rows out) {
  if (table_.layer_norm == nullptr) return inner_->layer_norm(x, weight, bias, eps, out);
  if (x.rows == 0) return;
  isobit_layer_norm args{};
  args.size = sizeof args;
  args.x = rows_of(x, mode_.stored);
  args.out = output(out, mode_.stored);
  args.weight = weight;
  args.bias = bias;
  args.eps = eps;
  perform("layer_norm", table_.layer_norm, args,
          {{x}, [&](std::int64_t row) {
             return bound_of_norm(2 * largest(x, row), x.cols, largest(one_row(weight, x.cols), 0),
                                  largest(one_row(bias, x.cols), 0));
           }});
  give(out);
}

/// The plugin gets each row's own line of the tables.
void PluginBackend::rope(Rows x, std::int64_t heads, std::span<const std::int64_t> positions,
                         const Rotation& rotation) {
  if (table_.rope == nullptr) return inner_->rope(x, heads, positions, rotation);
  if (x.rows == 0 || heads == 0) return;
  const std::int64_t half = rotation.dims / 2;
  const std::vector<std::int32_t> ids(positions.begin(), positions.end());
  const std::int64_t lines = *std::max_element(ids.begin(), ids.end()) + 1;
  const std::size_t bytes = std::size_t(x.rows * half) * real_size();
  const Rows cosine = dense(cosines_.reserve(*inner_, bytes), x.rows, half);
  const Rows sine = dense(sines_.reserve(*inner_, bytes), x.rows, half);
  inner_->gather(dense(const_cast<void*>(rotation.cosine), lines, half), ids, cosine);
  inner_->gather(dense(const_cast<void*>(rotation.sine), lines, half), ids, sine);
  const Format real = mode_.wide() ? Format::f64 : Format::f32;
  isobit_rope args{};
  args.size = sizeof args;
  args.x = rows_of(x, mode_.stored);
  args.out = output(x, mode_.stored);
  args.cosine = rows_of(cosine, real);
  args.sine = rows_of(sine, real);
  args.heads = heads;
  args.head_dim = x.cols / heads;
  args.dims = rotation.dims;
  perform("rope", table_.rope, args, {{x}, [&](std::int64_t row) {
                                        return 2 * largest(x, row) *
                                               std::max(largest(cosine, row), largest(sine, row));
                                      }});
  give(x);
}

void PluginBackend::gated(Activation f, Rows gate, Rows up, Rows out) {
  if (table_.gated == nullptr) return inner_->gated(f, gate, up, out);
  if (gate.rows == 0 || gate.cols == 0) return;
  isobit_gated args{};
  args.size = sizeof args;
  args.gate = rows_of(gate, mode_.stored);
  args.up = rows_of(up, mode_.stored);
  args.out = output(out, mode_.stored);
  args.activation = int(f);
  perform("gated", table_.gated, args, {{gate, up}, [&](std::int64_t row) {
                                          return bound_of_activation(largest(gate, row)) *
                                                 std::max(largest(up, row), 1.0);
                                        }});
  give(out);
}

void PluginBackend::activate(Activation f, Rows x) {
  if (table_.activate == nullptr) return inner_->activate(f, x);
  if (x.rows == 0 || x.cols == 0) return;
  isobit_activate args{};
  args.size = sizeof args;
  args.x = rows_of(x, mode_.stored);
  args.out = output(x, mode_.stored);
  args.activation = int(f);
  perform("activate", table_.activate, args,
          {{x}, [&](std::int64_t row) { return bound_of_activation(largest(x, row)); }});
  give(x);
}

void PluginBackend::add(Rows h, Rows y) {
  if (table_.add == nullptr) return inner_->add(h, y);
  if (h.rows == 0) return;
  isobit_add args{};
  args.size = sizeof args;
  args.x = rows_of(h, mode_.stored);
  args.y = rows_of(y, mode_.stored);
  args.out = output(h, mode_.stored);
  perform("add", table_.add, args,
          {{h, y}, [&](std::int64_t row) { return largest(h, row) + largest(y, row); }});
  give(h);
}

/// The plugin gets plain rows of keys and values, gathered from the pages of each sequence.
void PluginBackend::attention(Rows q, const AttentionRows& args, const void* k_pool,
                              const void* v_pool, Rows out) {
  if (table_.attention == nullptr) return inner_->attention(q, args, k_pool, v_pool, out);
  if (args.heads == 0 || args.rows.empty()) return;
  struct Span {
    std::int64_t index, begin, end;  // positions that some query of the sequence sees
  };
  std::map<const std::int32_t*, Span> spans;  // by the sequence's pages
  std::vector<const std::int32_t*> tables;    // in order of their first rows
  for (const AttentionRows::Row& row : args.rows) {
    if (row.keep != nullptr) refuse_policy();
    const auto [at, fresh] = spans.try_emplace(
        row.table, Span{std::int64_t(tables.size()), row.first, row.position + 1});
    if (fresh) tables.push_back(row.table);
    at->second.begin = std::min(at->second.begin, row.first);
    at->second.end = std::max(at->second.end, row.position + 1);
  }
  std::vector<std::int64_t> slots;
  for (const std::int32_t* table : tables) {
    for (std::int64_t p = spans.at(table).begin; p < spans.at(table).end; ++p) {
      slots.push_back(std::int64_t(table[p / args.page_size]) * args.page_size +
                      p % args.page_size);
    }
  }
  const auto lines = std::int64_t(slots.size());
  const std::int64_t cols = args.kv_heads * args.head_dim;
  const std::size_t bytes = std::size_t(lines * cols) * real_size();
  void* const memory = keys_values_.reserve(*inner_, 2 * bytes);
  const Rows k = dense(memory, lines, cols);
  const Rows v = dense(static_cast<char*>(memory) + bytes, lines, cols);
  inner_->read_kv(slots, args.kv_heads, args.page_size, k_pool, v_pool, k, v);

  std::vector<isobit_sequence> sequences;
  std::size_t first = 0;  // byte of the sequence in k and v
  for (const std::int32_t* table : tables) {
    const Span& span = spans.at(table);
    const std::int64_t count = span.end - span.begin;
    sequences.push_back(
        {rows_of(dense(static_cast<char*>(k.data) + first, count, cols), mode_.cache),
         rows_of(dense(static_cast<char*>(v.data) + first, count, cols), mode_.cache), span.begin});
    first += std::size_t(count * cols) * real_size();
  }
  std::vector<isobit_query> queries;
  for (const AttentionRows::Row& row : args.rows) {
    queries.push_back({spans.at(row.table).index, row.first, row.position});
  }
  isobit_attention call{};
  call.size = sizeof call;
  call.q = rows_of(q, mode_.stored);
  call.out = output(out, mode_.stored);
  call.heads = args.heads;
  call.kv_heads = args.kv_heads;
  call.head_dim = args.head_dim;
  call.kv_of_head = args.kv_of_head.data();
  call.sequences = sequences.data();
  call.sequence_count = std::int64_t(sequences.size());
  call.queries = queries.data();
  call.scale = args.scale;
  call.softcap = args.softcap;
  perform("attention", table_.attention, call, {{q}, bound_of_attention(q, call)});
  give(out);
}

/// The difference of two scores, and the sum of values with weights up to 1.
std::function<double(std::int64_t)> PluginBackend::bound_of_attention(
    Rows q, const isobit_attention& call) {
  const auto all = [this](const isobit_rows& x) {
    double most = 0;
    for (std::int64_t r = 0; r < x.rows; ++r) {
      most = std::max(most, largest({const_cast<void*>(x.data), x.rows, x.cols, x.stride}, r));
    }
    return most;
  };
  std::map<std::int64_t, std::pair<double, double>> known;  // of a sequence's keys and values
  return [=, this, &call](std::int64_t row) mutable {
    const isobit_query& query = call.queries[row];
    const isobit_sequence& sequence = call.sequences[query.sequence];
    const auto [at, fresh] = known.try_emplace(query.sequence, 0.0, 0.0);
    if (fresh) at->second = {all(sequence.k), all(sequence.v)};
    const auto [key, value] = at->second;
    const double scale = std::max(std::abs(call.scale), 1.0) * double(call.head_dim);
    return std::max(2 * largest(q, row) * key * scale,
                    value * double(query.last + 1 - query.first));
  };
}

void PluginBackend::attention_coded(Rows q, const AttentionRows& args, const KvPools& pools,
                                    Rows out) {
  if (table_.attention != nullptr) refuse_policy();
  inner_->attention_coded(q, args, pools, out);
}

void PluginBackend::refuse_policy() const {
  throw BackendError(where("attention") +
                     ": a plugin's attention sees every key, and sees it exact; this cell's axis "
                     "kv evicts or codes some");
}

}  // namespace isobit
