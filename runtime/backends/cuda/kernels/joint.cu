// What follows a GEMM, in one kernel: the end of the product, then RoPE, the gate, the residual
// add, the norm. The text of each operation is that of rows.cu.

#include <cuda_runtime.h>

#include "runtime/backends/cuda/device/device.h"
#include "runtime/backends/cuda/kernels/joint.h"
#include "runtime/numerics/order.h"

namespace isobit::cuda {
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
  int d, dims;
  const std::int64_t* positions;
  const T *cosine, *sine;
  Format stored;
};

/// Ends two elements that nothing turns.
template <class T>
__device__ void end_two(const End<T>& end, std::int64_t r, std::int64_t j, Format stored) {
  const T a = finished(end, r, j, stored), b = finished(end, r, j + 1, stored);
  end.out[r * end.n + j] = a;
  end.out[r * end.n + j + 1] = b;
}

/// grid: (pairs of a row, rows). A thread ends two elements: a pair that rotates, or two that do
/// not, of V or behind a head's rotary dims.
template <class T>
__global__ void __launch_bounds__(kThreads) qkv_kernel(Qkv<T> call) {
  const std::int64_t r = blockIdx.y;
  std::int64_t pair = std::int64_t(blockIdx.x) * kThreads + std::int64_t(threadIdx.x);
  const int of_head = call.d / 2, half = call.dims / 2;
  const std::int64_t of_q = call.q.n / 2, of_k = call.k.n / 2, of_v = call.v.n / 2;
  if (pair >= of_q + of_k + of_v) return;
  if (pair >= of_q + of_k) {
    return end_two(call.v, r, 2 * (pair - of_q - of_k), call.stored);
  }
  const End<T>& end = pair < of_q ? call.q : call.k;
  if (pair >= of_q) pair -= of_q;
  const int i = int(pair % of_head);
  if (i >= half) return end_two(end, r, 2 * pair, call.stored);
  const std::int64_t j = pair / of_head * call.d + i;
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

constexpr int kNormThreads = 1024;
constexpr std::size_t kNormShared = 32 * 1024;  // bytes; a longer row is read back from memory

/// The lane tree over `lane`, by a block's first 256 threads; every thread has the sum.
template <class T>
__device__ T tree_of(T (&lane)[kLanes]) {
  const int t = int(threadIdx.x);
  for (int half = kLanes / 2; half >= 32; half /= 2) {
    __syncthreads();
    if (t < half) lane[t] = lane[t] + lane[t + half];
  }
  if (t < 32) {
    for (int half = 16; half >= 1; half /= 2) {
      __syncwarp();
      if (t < half) lane[t] = lane[t] + lane[t + half];
    }
  }
  __syncthreads();
  return lane[0];
}

/// One block a row. All threads end and add elements; the sum is that of 256 lanes.
template <class T>
__global__ void __launch_bounds__(kNormThreads)
    add_norm_kernel(End<T> end, Format stored, T* h, const T* w, T eps, bool staged, T* x) {
  extern __shared__ __align__(16) unsigned char memory[];
  __shared__ T lane[kLanes];
  const std::int64_t r = blockIdx.x, d = end.n;
  T* const row = h + r * d;
  const int t = int(threadIdx.x);
  T* const values = staged ? reinterpret_cast<T*>(memory) : row;
  for (std::int64_t i = t; i < d; i += kNormThreads) {
    const T y = finished(end, r, i, stored);
    const T value = T(round_to(stored, row[i] + y));
    end.out[r * d + i] = y;
    row[i] = value;
    if (staged) values[i] = value;
  }
  __syncthreads();
  if (t < kLanes) {
    T sum = T(0);
#pragma unroll 8
    for (std::int64_t i = t; i < d; i += kLanes) sum = fma_(values[i], values[i], sum);
    lane[t] = sum;
  }
  const T scale = T(1) / sqrt_(tree_of(lane) / T(d) + eps);
  for (std::int64_t i = t; i < d; i += kNormThreads) {
    x[r * d + i] = T(round_to(stored, (values[i] * scale) * w[i]));
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
                     call.dims,
                     call.positions,
                     static_cast<const T*>(call.cosine),
                     static_cast<const T*>(call.sine),
                     call.stored};
    qkv_kernel<T><<<grid_of(pairs, call.rows), kThreads, 0, call.stream>>>(qkv);
  });
  check_launch("finish_qkv");
}

void finish_gated_silu(cudaStream_t stream, bool wide, const ProductEnd& gate, const ProductEnd& up,
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
    const std::size_t bytes = std::size_t(call.y.n) * sizeof(T);
    const bool staged = bytes <= kNormShared;
    add_norm_kernel<T><<<unsigned(call.rows), kNormThreads, staged ? bytes : 0, call.stream>>>(
        end_of<T>(call.y), call.stored, static_cast<T*>(call.h), static_cast<const T*>(w), T(eps),
        staged, static_cast<T*>(x));
  });
  check_launch("finish_add_norm");
}

}  // namespace isobit::cuda
