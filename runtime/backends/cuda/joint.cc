// The joint operations of backend.h as one kernel each, for products of one rank.

#include "runtime/backends/cuda/kernels/joint.h"

#include "runtime/backends/cuda/backend.h"

namespace isobit::cuda {
namespace {

constexpr std::int64_t kMostRows = 65535;  // of one launch

/// One part, finished where it lies; a joint kernel knows nothing else.
bool simple(const Product& p) {
  return p.parts.size() == 1 && p.parts[0].data == p.out.data && p.out.stride == p.out.cols &&
         p.out.rows <= kMostRows;
}

ProductEnd end_of(const Product& p) {
  return {p.out.data, p.out.cols, p.row_scale, static_cast<const CudaMatrix*>(p.matrix)->scale,
          p.bias};
}

}  // namespace

void CudaBackend::finish_qkv(const Product* q, const Product& k, const Product& v,
                             std::int64_t heads, std::int64_t kv_heads,
                             std::span<const std::int64_t> positions, const void* cosine,
                             const void* sine, const HeadNorm* norm) {
  const bool plain = (q == nullptr || simple(*q)) && simple(k) && simple(v) && norm == nullptr;
  if (kv_heads == 0 || !plain) {
    return Backend::finish_qkv(q, k, v, heads, kv_heads, positions, cosine, sine, norm);
  }
  ISOBIT_CHECK(std::int64_t(positions.size()) == k.out.rows && v.out.rows == k.out.rows);
  enter();
  QkvCall call{};
  call.stream = stream_;
  call.wide = mode_.wide();
  if (q != nullptr) call.q = end_of(*q);
  call.k = end_of(k);
  call.v = end_of(v);
  call.rows = k.out.rows;
  call.d = int(k.out.cols / kv_heads);
  ISOBIT_CHECK(call.q.n == (q != nullptr ? heads * call.d : 0));
  call.positions =
      static_cast<const std::int64_t*>(send(positions_, positions.data(), positions.size_bytes()));
  call.cosine = cosine;
  call.sine = sine;
  call.stored = mode_.stored;
  cuda::finish_qkv(call);
}

void CudaBackend::finish_gated(const Product& gate, const Product& up, Rows act) {
  if (!simple(gate) || !simple(up)) return Backend::finish_gated(gate, up, act);
  ISOBIT_CHECK(act.stride == act.cols && act.cols == gate.out.cols && act.cols == up.out.cols);
  enter();
  cuda::finish_gated(stream_, mode_.wide(), end_of(gate), end_of(up), act.rows, mode_.stored,
                     act.data);
}

void CudaBackend::finish_add(const Product& y, Rows h) {
  if (!simple(y)) return Backend::finish_add(y, h);
  ISOBIT_CHECK(h.stride == h.cols && h.cols == y.out.cols && h.rows == y.out.rows);
  enter();
  cuda::finish_add({stream_, mode_.wide(), end_of(y), h.rows, mode_.stored, h.data});
}

void CudaBackend::finish_add_norm(const Product& y, Rows h, const void* weight, double eps,
                                  Rows x) {
  if (!simple(y)) return Backend::finish_add_norm(y, h, weight, eps, x);
  ISOBIT_CHECK(h.stride == h.cols && h.cols == y.out.cols && h.rows == y.out.rows);
  ISOBIT_CHECK(x.stride == x.cols && x.cols == h.cols && x.data != h.data);
  enter();
  cuda::finish_add_norm({stream_, mode_.wide(), end_of(y), h.rows, mode_.stored, h.data}, weight,
                        eps, x.data);
  ran("rms_norm");
}

}  // namespace isobit::cuda
