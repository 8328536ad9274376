// Every operation is handed on; gemm() also notes which layer is computing.

#include "harness/selftest/wrap.h"

#include <algorithm>

#include "harness/selftest/model.h"
#include "runtime/model/rank_model.h"

namespace isobit::selftest {

ForwardingBackend::ForwardingBackend(std::unique_ptr<Backend> inner, const Setup& setup)
    : Backend(inner->mode()), inner_(std::move(inner)), setup_(setup) {}

BackendInfo ForwardingBackend::describe() const {
  return inner_->describe();
}
void* ForwardingBackend::native_stream() {
  return inner_->native_stream();
}
void* ForwardingBackend::allocate(std::size_t bytes) {
  return inner_->allocate(bytes);
}
void ForwardingBackend::release(void* memory) {
  inner_->release(memory);
}
void ForwardingBackend::upload(void* to, const void* from, std::size_t bytes) {
  inner_->upload(to, from, bytes);
}
void ForwardingBackend::download(void* to, const void* from, std::size_t bytes) {
  inner_->download(to, from, bytes);
}
void ForwardingBackend::copy(Rows from, Rows to) {
  inner_->copy(from, to);
}
std::shared_ptr<WeightMatrix> ForwardingBackend::load_matrix(const MatrixSource& source) {
  return inner_->load_matrix(source);
}
void ForwardingBackend::gather(Rows table, std::span<const std::int32_t> ids, Rows out) {
  inner_->gather(table, ids, out);
}
void ForwardingBackend::rms_norm(Rows x, const void* weight, double eps, Rows out) {
  inner_->rms_norm(x, weight, eps, out);
}
void ForwardingBackend::amax(Rows x, void* out) {
  inner_->amax(x, out);
}
void ForwardingBackend::scales(const void* amax, std::int64_t ranks, std::int64_t rows,
                               Format format, void* scale) {
  inner_->scales(amax, ranks, rows, format, scale);
}
void ForwardingBackend::quantize(Rows x, const void* scale, Format format, Rows out) {
  inner_->quantize(x, scale, format, out);
}
void ForwardingBackend::gemm(Rows x, const WeightMatrix& matrix, Rows out) {
  layer_ = place_of(matrix).layer;
  inner_->gemm(x, matrix, out);
}
void ForwardingBackend::finish(std::span<const Rows> parts, const WeightMatrix& matrix,
                               const void* row_scale, const void* bias, Format stored, Rows out) {
  inner_->finish(parts, matrix, row_scale, bias, stored, out);
}
void ForwardingBackend::rope(Rows x, std::int64_t heads, std::span<const std::int64_t> positions,
                             const Rotation& rotation) {
  inner_->rope(x, heads, positions, rotation);
}
void ForwardingBackend::write_kv(Rows k, Rows v, std::span<const std::int64_t> slots,
                                 std::int64_t kv_heads, std::int32_t page_size, void* k_pool,
                                 void* v_pool) {
  inner_->write_kv(k, v, slots, kv_heads, page_size, k_pool, v_pool);
}
void ForwardingBackend::read_kv(std::span<const std::int64_t> slots, std::int64_t kv_heads,
                                std::int32_t page_size, const void* k_pool, const void* v_pool,
                                Rows k, Rows v) {
  inner_->read_kv(slots, kv_heads, page_size, k_pool, v_pool, k, v);
}
void ForwardingBackend::attention(Rows q, const AttentionRows& args, const void* k_pool,
                                  const void* v_pool, Rows out) {
  inner_->attention(q, args, k_pool, v_pool, out);
}
void ForwardingBackend::encode_kv(Rows x, std::span<const std::int64_t> slots,
                                  const CodeLayout& layout, void* codes) {
  inner_->encode_kv(x, slots, layout, codes);
}
void ForwardingBackend::attention_coded(Rows q, const AttentionRows& args, const KvPools& pools,
                                        Rows out) {
  inner_->attention_coded(q, args, pools, out);
}
void ForwardingBackend::attention_weights(Rows q, const AttentionRows& args, const KvPools& pools,
                                          Rows out) {
  inner_->attention_weights(q, args, pools, out);
}
void ForwardingBackend::hadamard(Rows x, std::int64_t block) {
  inner_->hadamard(x, block);
}
void ForwardingBackend::change_kv(Rows x, std::int64_t kv_heads, const KvChange& change,
                                  const KvPlace& first, std::span<const std::int64_t> positions) {
  inner_->change_kv(x, kv_heads, change, first, positions);
}
void ForwardingBackend::gated(Activation f, Rows gate, Rows up, Rows out) {
  inner_->gated(f, gate, up, out);
}
void ForwardingBackend::add(Rows h, Rows y) {
  inner_->add(h, y);
}
void ForwardingBackend::layer_norm(Rows x, const void* weight, const void* bias, double eps,
                                   Rows out) {
  inner_->layer_norm(x, weight, bias, eps, out);
}
void ForwardingBackend::activate(Activation f, Rows x) {
  inner_->activate(f, x);
}
void ForwardingBackend::scale(Rows x, double factor) {
  inner_->scale(x, factor);
}
void ForwardingBackend::softcap(Rows x, double cap) {
  inner_->softcap(x, cap);
}
void ForwardingBackend::add_scaled(Rows y, std::span<const std::int32_t> ids,
                                   std::span<const double> factors, Rows sum) {
  inner_->add_scaled(y, ids, factors, sum);
}
void ForwardingBackend::digests(Rows x, std::span<Digest> out) {
  inner_->digests(x, out);
}
TopEntries ForwardingBackend::top(Rows row, int count) {
  return inner_->top(row, count);
}

ForwardingBackend::Place ForwardingBackend::place_of(const WeightMatrix& matrix) {
  auto at = std::find(seen_.begin(), seen_.end(), &matrix);
  if (at == seen_.end()) at = seen_.insert(at, &matrix);
  const int index = int(at - seen_.begin());
  constexpr int kOfLayer = int(Gemm::head);
  if (index >= kOfLayer * int(kLayers)) return {int(kLayers), Gemm::head};
  return {index / kOfLayer, Gemm(index % kOfLayer)};
}

bool ForwardingBackend::is(const WeightMatrix& matrix, Gemm gemm, int layer) {
  const Place place = place_of(matrix);
  return place.gemm == gemm && (layer < 0 || place.layer == layer);
}

std::vector<float> ForwardingBackend::fetch(Rows x) {
  ISOBIT_CHECK(!mode_.wide());
  std::vector<float> out(std::size_t(x.rows * x.cols));
  for (std::int64_t r = 0; r < x.rows; ++r) {
    inner_->download(out.data() + r * x.cols, static_cast<const float*>(x.data) + r * x.stride,
                     std::size_t(x.cols) * sizeof(float));
  }
  return out;
}

void ForwardingBackend::store(const std::vector<float>& values, Rows x) {
  ISOBIT_CHECK(!mode_.wide() && values.size() == std::size_t(x.rows * x.cols));
  for (std::int64_t r = 0; r < x.rows; ++r) {
    inner_->upload(static_cast<float*>(x.data) + r * x.stride, values.data() + r * x.cols,
                   std::size_t(x.cols) * sizeof(float));
  }
}

void ForwardingBackend::change(Rows x, const std::function<void(std::vector<float>&)>& f) {
  std::vector<float> values = fetch(x);
  f(values);
  store(values, x);
}

std::vector<std::vector<float>> ForwardingBackend::partial_products(
    Rows x, const WeightMatrix& matrix, Rows out, const std::vector<std::int64_t>& cuts) {
  std::vector<std::vector<float>> parts;
  const std::vector<float> all = fetch(x);
  const DeviceMemory memory(*inner_, all.size() * sizeof(float));
  const Rows masked{memory.get(), x.rows, x.cols, x.cols};
  for (std::size_t p = 0; p + 1 < cuts.size(); ++p) {
    std::vector<float> kept(all.size(), 0.0f);
    for (std::int64_t r = 0; r < x.rows; ++r) {
      const auto row = all.begin() + r * x.cols;
      std::copy(row + cuts[p], row + cuts[p + 1], kept.begin() + r * x.cols + cuts[p]);
    }
    store(kept, masked);
    inner_->gemm(masked, matrix, out);
    parts.push_back(fetch(out));
  }
  return parts;
}

void ForwardingBackend::split_gemm(Rows x, const WeightMatrix& matrix, Rows out, int parts) {
  // Not at a segment's end: there the tree would give the same sums.
  std::vector<std::int64_t> cuts{0};
  for (int p = 1; p < parts; ++p) cuts.push_back(x.cols * p / parts - 3);
  cuts.push_back(x.cols);
  const auto sums = partial_products(x, matrix, out, cuts);
  std::vector<float> total = sums.front();
  for (std::size_t p = 1; p < sums.size(); ++p) {
    for (std::size_t i = 0; i < total.size(); ++i) total[i] = total[i] + sums[p][i];
  }
  store(total, out);
}

}  // namespace isobit::selftest
