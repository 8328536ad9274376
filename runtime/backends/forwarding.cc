// Every operation is handed on.
#include "runtime/backends/forwarding.h"

namespace isobit {

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
Turn ForwardingBackend::turn(const RopeAngle& angle) const {
  return inner_->turn(angle);
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

}  // namespace isobit
