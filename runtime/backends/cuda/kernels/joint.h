// Kernels that do several operations of a decode step at once: what follows a GEMM.
//
// Promise: every element is computed by the operations of kernels.h in the order of backend.h, with
// every rounding between them. One rank: a product's only part is its output. Callers: this folder.
#pragma once

#include "runtime/backends/cuda/kernels/kernels.h"

namespace isobit::cuda {

/// A product before its end; out (rows, n) holds the sums and takes the finished values.
struct ProductEnd {
  void* out;
  std::int64_t n;
  const void* row_scale;      // (rows) Real or null
  const float* output_scale;  // (n) or null
  const void* bias;           // (n) Real or null
};

struct QkvCall {
  cudaStream_t stream;
  bool wide;
  ProductEnd q, k, v;  // q.n is 0 when there is none
  std::int64_t rows;
  int d, dims;  // of a head, and those that RoPE turns
  const std::int64_t* positions;
  const void *cosine, *sine;
  Format stored;
};
void finish_qkv(const QkvCall& call);

/// act = gated(silu, gate, up); neither is written.
void finish_gated_silu(cudaStream_t stream, bool wide, const ProductEnd& gate, const ProductEnd& up,
                       std::int64_t rows, Format stored, void* act);

struct AddCall {
  cudaStream_t stream;
  bool wide;
  ProductEnd y;
  std::int64_t rows;
  Format stored;
  void* h;  // (rows, n)
};
void finish_add(const AddCall& call);
/// Then x (rows, n) = rms_norm(h) with weight w (n).
void finish_add_norm(const AddCall& call, const void* w, double eps, void* x);

}  // namespace isobit::cuda
