// What follows a GEMM, in one kernel: the end of the product, then RoPE, the gate, the residual
// add, the norm. The text of each operation is that of rows.cu.

#include <cuda_runtime.h>

#include "runtime/backends/cuda/device.h"
#include "runtime/backends/cuda/joint.h"
#include "runtime/numerics/order.h"

namespace invar::cuda {
namespace {

constexpr int kThreads = 256;

template <class T>
struct End {
  T* out;
  std::int64_t n;
  const T* row_scale;
  const float* output_scale;
  const T* bias;
};

template <class T>
End<T> end_of(const ProductEnd& p) {
  return {static_cast<T*>(p.out), p.n, static_cast<const T*>(p.row_scale), p.output_scale,
          static_cast<const T*>(p.bias)};
}

/// finish() of one element of one part.
template <class T>
__device__ T finished(const End<T>& end, std::int64_t r, std::int64_t j, Format stored) {
  T y = end.out[r * end.n + j];
  if (end.row_scale != nullptr || end.output_scale != nullptr) {
    const T row = end.row_scale != nullptr ? end.row_scale[r] : T(1);
    const T output = end.output_scale != nullptr ? T(end.output_scale[j]) : T(1);
    y = y * (row * output);
  }
  y = y + T(0);
  if (end.bias != nullptr) y = y + end.bias[j];
  return T(round_to(stored, y));
}

template <class T>
struct Qkv {
  End<T> q, k, v;
  int d;
  const std::int64_t* positions;
  const T *cosine, *sine;
  Format stored;
};

/// grid: (pairs of a row, rows). A thread ends two elements: a pair that rotates, or two of V.
template <class T>
__global__ void __launch_bounds__(kThreads) qkv_kernel(Qkv<T> call) {
  const std::int64_t r = blockIdx.y;
  std::int64_t pair = std::int64_t(blockIdx.x) * kThreads + std::int64_t(threadIdx.x);
  const int half = call.d / 2;
  const std::int64_t of_q = call.q.n / 2, of_k = call.k.n / 2, of_v = call.v.n / 2;
  if (pair >= of_q + of_k + of_v) return;
  if (pair >= of_q + of_k) {
    const std::int64_t j = 2 * (pair - of_q - of_k);
    const T a = finished(call.v, r, j, call.stored), b = finished(call.v, r, j + 1, call.stored);
    call.v.out[r * call.v.n + j] = a;
    call.v.out[r * call.v.n + j + 1] = b;
    return;
  }
  const End<T>& end = pair < of_q ? call.q : call.k;
  if (pair >= of_q) pair -= of_q;
  const int i = int(pair % half);
  const std::int64_t j = pair / half * call.d + i;
  const std::int64_t at = call.positions[r] * half + i;
  const T x0 = finished(end, r, j, call.stored), x1 = finished(end, r, j + half, call.stored);
  end.out[r * end.n + j] =
      T(round_to(call.stored, fma_(x0, call.cosine[at], -(x1 * call.sine[at]))));
  end.out[r * end.n + j + half] =
      T(round_to(call.stored, fma_(x1, call.cosine[at], x0 * call.sine[at])));
}

/// grid: (columns, rows).
template <class T>
__global__ void __launch_bounds__(kThreads)
    gated_kernel(End<T> gate, End<T> up, Format stored, T* act) {
  const std::int64_t r = blockIdx.y;
  const std::int64_t j = std::int64_t(blockIdx.x) * kThreads + std::int64_t(threadIdx.x);
  if (j >= gate.n) return;
  const T g = finished(gate, r, j, stored), u = finished(up, r, j, stored);
  act[r * gate.n + j] = T(round_to(stored, silu_(g) * u));
}

/// grid: (columns, rows).
template <class T>
__global__ void __launch_bounds__(kThreads) add_kernel(End<T> end, Format stored, T* h) {
  const std::int64_t r = blockIdx.y;
  const std::int64_t j = std::int64_t(blockIdx.x) * kThreads + std::int64_t(threadIdx.x);
  if (j >= end.n) return;
  const T y = finished(end, r, j, stored);
  end.out[r * end.n + j] = y;
  T& sum = h[r * end.n + j];
  sum = T(round_to(stored, sum + y));
}

/// One block a row; thread j is lane j of the sum and ends the elements that it sums. Some are read
/// before any is written, so that their reads overlap; the order of the sum stays.
template <class T>
__global__ void __launch_bounds__(kLanes)
    add_norm_kernel(End<T> end, Format stored, T* h, const T* w, T eps, T* x) {
  constexpr int kAhead = 8;
  __shared__ T lane[kLanes];
  const std::int64_t r = blockIdx.x, d = end.n;
  T* const row = h + r * d;
  T* const out = x + r * d;
  const int j = int(threadIdx.x);
  T sum = T(0);
  for (std::int64_t first = j; first < d; first += kAhead * kLanes) {
    T y[kAhead], value[kAhead];
#pragma unroll
    for (int u = 0; u < kAhead; ++u) {
      const std::int64_t i = first + u * kLanes;
      if (i >= d) continue;
      y[u] = finished(end, r, i, stored);
      value[u] = row[i];
    }
#pragma unroll
    for (int u = 0; u < kAhead; ++u) {
      const std::int64_t i = first + u * kLanes;
      if (i >= d) continue;
      value[u] = T(round_to(stored, value[u] + y[u]));
      end.out[r * d + i] = y[u];
      row[i] = value[u];
      sum = fma_(value[u], value[u], sum);
    }
  }
  lane[j] = sum;
  __syncthreads();
  for (int half = kLanes / 2; half >= 1; half /= 2) {
    if (j < half) lane[j] = lane[j] + lane[j + half];
    __syncthreads();
  }
  const T scale = T(1) / sqrt_(lane[0] / T(d) + eps);
  for (std::int64_t first = j; first < d; first += kAhead * kLanes) {
    T value[kAhead], weight[kAhead];
#pragma unroll
    for (int u = 0; u < kAhead; ++u) {
      const std::int64_t i = first + u * kLanes;
      if (i >= d) continue;
      value[u] = row[i];
      weight[u] = w[i];
    }
#pragma unroll
    for (int u = 0; u < kAhead; ++u) {
      const std::int64_t i = first + u * kLanes;
      if (i < d) out[i] = T(round_to(stored, (value[u] * scale) * weight[u]));
    }
  }
}

/// Calls f with a value of Real's type.
template <class F>
void with_real(bool wide, F&& f) {
  if (wide) {
    f(double{});
  } else {
    f(float{});
  }
}

dim3 grid_of(std::int64_t columns, std::int64_t rows) {
  return {unsigned((columns + kThreads - 1) / kThreads), unsigned(rows)};
}

}  // namespace

void finish_qkv(const QkvCall& call) {
  const std::int64_t pairs = (call.q.n + call.k.n + call.v.n) / 2;
  if (call.rows * pairs == 0) return;
  with_real(call.wide, [&]<class T>(T) {
    const Qkv<T> qkv{end_of<T>(call.q),
                     end_of<T>(call.k),
                     end_of<T>(call.v),
                     call.d,
                     call.positions,
                     static_cast<const T*>(call.cosine),
                     static_cast<const T*>(call.sine),
                     call.stored};
    qkv_kernel<T><<<grid_of(pairs, call.rows), kThreads, 0, call.stream>>>(qkv);
  });
  check_launch("finish_qkv");
}

void finish_gated(cudaStream_t stream, bool wide, const ProductEnd& gate, const ProductEnd& up,
                  std::int64_t rows, Format stored, void* act) {
  if (rows * gate.n == 0) return;
  with_real(wide, [&]<class T>(T) {
    gated_kernel<T><<<grid_of(gate.n, rows), kThreads, 0, stream>>>(end_of<T>(gate), end_of<T>(up),
                                                                    stored, static_cast<T*>(act));
  });
  check_launch("finish_gated");
}

void finish_add(const AddCall& call) {
  if (call.rows * call.y.n == 0) return;
  with_real(call.wide, [&]<class T>(T) {
    add_kernel<T><<<grid_of(call.y.n, call.rows), kThreads, 0, call.stream>>>(
        end_of<T>(call.y), call.stored, static_cast<T*>(call.h));
  });
  check_launch("finish_add");
}

void finish_add_norm(const AddCall& call, const void* w, double eps, void* x) {
  if (call.rows * call.y.n == 0) return;
  with_real(call.wide, [&]<class T>(T) {
    add_norm_kernel<T><<<unsigned(call.rows), kLanes, 0, call.stream>>>(
        end_of<T>(call.y), call.stored, static_cast<T*>(call.h), static_cast<const T*>(w), T(eps),
        static_cast<T*>(x));
  });
  check_launch("finish_add_norm");
}

}  // namespace invar::cuda
