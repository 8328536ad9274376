// What a layer does to rows besides its products, on the GPU: one kernel an operation.
#include "runtime/backends/cuda/backend.h"

namespace isobit::cuda {
void CudaBackend::gated(Activation f, Rows gate, Rows up, Rows out) {
  ISOBIT_CHECK(gate.dense() && up.dense() && out.dense());
  enter();
  cuda::gated(stream_, mode_.wide(), f, gate.data, up.data, gate.rows * gate.cols, mode_.stored,
              out.data);
}

void CudaBackend::add(Rows h, Rows y) {
  ISOBIT_CHECK(h.dense() && y.dense());
  enter();
  cuda::add(stream_, mode_.wide(), h.data, y.data, h.rows * h.cols, mode_.stored);
}

void CudaBackend::layer_norm(Rows x, const void* weight, const void* bias, double eps, Rows out) {
  ISOBIT_CHECK(x.dense() && out.dense());
  enter();
  cuda::layer_norm(stream_, mode_.wide(), x.data, weight, bias, eps, x.rows, x.cols, mode_.stored,
                   out.data);
  ran("layer_norm");
}

void CudaBackend::activate(Activation f, Rows x) {
  ISOBIT_CHECK(x.dense());
  enter();
  cuda::activate(stream_, mode_.wide(), f, x.data, x.rows * x.cols, mode_.stored);
}

void CudaBackend::scale(Rows x, double factor) {
  ISOBIT_CHECK(x.dense());
  enter();
  cuda::scale(stream_, mode_.wide(), x.data, x.rows * x.cols, factor, mode_.stored);
}

void CudaBackend::softcap(Rows x, double cap) {
  ISOBIT_CHECK(x.dense());
  enter();
  cuda::softcap(stream_, mode_.wide(), x.data, x.rows * x.cols, cap);
}

void CudaBackend::add_scaled(Rows y, std::span<const std::int32_t> ids,
                             std::span<const double> factors, Rows sum) {
  ISOBIT_CHECK(ids.size() == std::size_t(y.rows) && factors.size() == ids.size());
  enter();
  const void* to = send(ids_, ids.data(), ids.size_bytes());
  const void* by = send(factors_, factors.data(), factors.size_bytes());
  cuda::add_scaled(stream_, mode_.wide(), y.data, y.stride, static_cast<const std::int32_t*>(to),
                   static_cast<const double*>(by), y.rows, y.cols, mode_.stored, sum.data,
                   sum.stride);
  ran("add_scaled");
}

void CudaBackend::hadamard(Rows x, std::int64_t block) {
  ISOBIT_CHECK(block > 0 && block <= 256 && (block & (block - 1)) == 0 && x.cols % block == 0);
  enter();
  cuda::hadamard(stream_, mode_.wide(), x.data, x.stride, x.rows, x.cols, int(block));
  ran("hadamard");
}

void CudaBackend::change_kv(Rows x, std::int64_t kv_heads, const KvChange& change,
                            const KvPlace& first, std::span<const std::int64_t> positions) {
  ISOBIT_CHECK(x.rows == std::int64_t(positions.size()));
  if (kv_heads == 0) return;
  enter();
  const void* on_gpu = send(changed_positions_, positions.data(), positions.size_bytes());
  cuda::change_kv(stream_, mode_.wide(), x.data, x.stride, x.cols, x.cols / kv_heads, change, first,
                  static_cast<const std::int64_t*>(on_gpu), x.rows);
  ran("change_kv");
}

}  // namespace isobit::cuda
