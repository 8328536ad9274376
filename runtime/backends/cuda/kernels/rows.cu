// Elementwise operations and row reductions. A reduction's lanes are threads; its tree is literal.

#include <cuda_runtime.h>

#include "runtime/backends/cuda/device/device.h"
#include "runtime/backends/cuda/kernels/kernels.h"
#include "runtime/numerics/order.h"

namespace isobit::cuda {
namespace {

constexpr int kThreads = 256;

int blocks_for(std::int64_t n) {
  return int((n + kThreads - 1) / kThreads);
}
__device__ std::int64_t global_index() {
  return std::int64_t(blockIdx.x) * kThreads + std::int64_t(threadIdx.x);
}

__global__ void fill_kernel(std::uint32_t* memory, std::size_t words, std::uint32_t value) {
  const std::size_t step = std::size_t(gridDim.x) * kThreads;
  for (std::size_t i = std::size_t(global_index()); i < words; i += step) memory[i] = value;
}

template <class T>
__global__ void gather_kernel(const T* table, std::int64_t table_stride, const std::int32_t* ids,
                              std::int64_t rows, std::int64_t cols, T* out,
                              std::int64_t out_stride) {
  const std::int64_t i = global_index();
  if (i >= rows * cols) return;
  const std::int64_t r = i / cols, c = i % cols;
  out[r * out_stride + c] = table[ids[r] * table_stride + c];
}

/// A sum in lanes, thread j being lane j; every thread gets the tree's root. REQUIRES: kLanes
/// threads.
template <class T>
__device__ T lanes_sum(T* lane, T mine) {
  const int j = int(threadIdx.x);
  lane[j] = mine;
  __syncthreads();
  for (int h = kLanes / 2; h >= 1; h /= 2) {
    if (j < h) lane[j] = lane[j] + lane[j + h];
    __syncthreads();
  }
  const T sum = lane[0];
  __syncthreads();
  return sum;
}

/// One block a row; thread j is lane j of the sum. y may be x.
template <class T>
__global__ void rms_norm_kernel(const T* x, const T* w, T eps, std::int64_t d, Format stored,
                                T* y) {
  __shared__ T lane[kLanes];
  const T* row = x + std::int64_t(blockIdx.x) * d;
  T* out = y + std::int64_t(blockIdx.x) * d;
  const int j = int(threadIdx.x);
  T sum = T(0);
  for (std::int64_t i = j; i < d; i += kLanes) sum = fma_(row[i], row[i], sum);
  const T r = T(1) / sqrt_(lanes_sum(lane, sum) / T(d) + eps);
  for (std::int64_t i = j; i < d; i += kLanes) out[i] = T(round_to(stored, (row[i] * r) * w[i]));
}

/// One block a row; thread j is lane j of both sums. y may be x.
template <class T>
__global__ void layer_norm_kernel(const T* x, const T* w, const T* b, T eps, std::int64_t d,
                                  Format stored, T* y) {
  __shared__ T lane[kLanes];
  const T* row = x + std::int64_t(blockIdx.x) * d;
  T* out = y + std::int64_t(blockIdx.x) * d;
  T sum = T(0);
  for (std::int64_t i = threadIdx.x; i < d; i += kLanes) sum = sum + row[i];
  const T mean = lanes_sum(lane, sum) / T(d);
  T squares = T(0);
  for (std::int64_t i = threadIdx.x; i < d; i += kLanes) {
    const T c = row[i] - mean;
    squares = fma_(c, c, squares);
  }
  const T r = T(1) / sqrt_(lanes_sum(lane, squares) / T(d) + eps);
  for (std::int64_t i = threadIdx.x; i < d; i += kLanes) {
    out[i] = T(round_to(stored, ((row[i] - mean) * r) * w[i] + b[i]));
  }
}

/// One block a row. The maximum does not depend on the order.
template <class T>
__global__ void amax_kernel(const T* x, std::int64_t stride, std::int64_t cols, T* out) {
  __shared__ T lane[kThreads];
  const T* row = x + std::int64_t(blockIdx.x) * stride;
  const int j = int(threadIdx.x);
  T m = T(0);
  for (std::int64_t i = j; i < cols; i += kThreads) {
    const T value = row[i];
    m = max_nan(m, value < T(0) ? -value : value);
  }
  lane[j] = m;
  __syncthreads();
  for (int h = kThreads / 2; h >= 1; h /= 2) {
    if (j < h) lane[j] = max_nan(lane[j], lane[j + h]);
    __syncthreads();
  }
  if (j == 0) out[blockIdx.x] = lane[0];
}

__global__ void scales_kernel(const float* amax, std::int64_t ranks, std::int64_t rows,
                              Format format, float* scale) {
  const std::int64_t r = global_index();
  if (r >= rows) return;
  float m = amax[r];
  for (std::int64_t rank = 1; rank < ranks; ++rank) m = max_nan(m, amax[rank * rows + r]);
  scale[r] = is_finite(m) ? power_of_two_scale(format, m) : canonical_nan(m);
}

template <class T>
__global__ void quantize_kernel(const T* x, std::int64_t stride, std::int64_t rows,
                                std::int64_t cols, const T* scale, Format format, T* out) {
  const std::int64_t i = global_index();
  if (i >= rows * cols) return;
  const std::int64_t r = i / cols;
  const T value = x[r * stride + i % cols];
  out[i] = T(round_to(format, scale != nullptr ? value / scale[r] : value));
}

template <class T>
struct Parts {
  const T* part[kMaxSegments];
};

template <class T>
__global__ void finish_kernel(Parts<T> parts, int ranks, std::int64_t rows, std::int64_t n,
                              const T* row_scale, const float* output_scale, const T* bias,
                              Format stored, T* out) {
  const std::int64_t i = global_index();
  if (i >= rows * n) return;
  const std::int64_t r = i / n, j = i % n;
  T part[kMaxSegments];
  for (int p = 0; p < ranks; ++p) part[p] = parts.part[p][i];
  T y = ranks == 1 ? part[0] : neighbour_tree(part, ranks);
  if (row_scale != nullptr || output_scale != nullptr) {
    const T row = row_scale != nullptr ? row_scale[r] : T(1);
    const T output = output_scale != nullptr ? T(output_scale[j]) : T(1);
    y = y * (row * output);
  }
  y = y + T(0);
  if (bias != nullptr) y = y + bias[j];
  out[i] = T(round_to(stored, y));
}

/// One thread a pair of one head.
template <class T>
__global__ void rope_kernel(T* x, std::int64_t pairs, std::int64_t heads, int d, int dims,
                            const std::int64_t* positions, const T* cosine, const T* sine,
                            Format stored) {
  const std::int64_t index = global_index();
  if (index >= pairs) return;
  const int half = dims / 2;
  const int i = int(index % half);
  const std::int64_t head = index / half;
  const std::int64_t at = positions[head / heads] * half + i;
  T* values = x + head * d;
  const T x0 = values[i], x1 = values[i + half];
  values[i] = T(round_to(stored, fma_(x0, cosine[at], -(x1 * sine[at]))));
  values[i + half] = T(round_to(stored, fma_(x1, cosine[at], x0 * sine[at])));
}

template <class T>
__global__ void gated_kernel(Activation f, const T* gate, const T* up, std::int64_t n,
                             Format stored, T* out) {
  const std::int64_t i = global_index();
  if (i < n) out[i] = T(round_to(stored, activated(f, gate[i]) * up[i]));
}

template <class T>
__global__ void activate_kernel(Activation f, T* x, std::int64_t n, Format stored) {
  const std::int64_t i = global_index();
  if (i < n) x[i] = T(round_to(stored, activated(f, x[i])));
}

template <class T>
__global__ void scale_kernel(T* x, std::int64_t n, T factor, Format stored) {
  const std::int64_t i = global_index();
  if (i < n) x[i] = T(round_to(stored, x[i] * factor));
}

template <class T>
__global__ void softcap_kernel(T* x, std::int64_t n, T cap) {
  const std::int64_t i = global_index();
  if (i < n) x[i] = softcapped(x[i], cap);
}

template <class T>
__global__ void add_scaled_kernel(const T* y, std::int64_t y_stride, const std::int32_t* ids,
                                  const double* factors, std::int64_t rows, std::int64_t cols,
                                  Format stored, T* sum, std::int64_t sum_stride) {
  const std::int64_t i = global_index();
  if (i >= rows * cols) return;
  const std::int64_t r = i / cols, c = i % cols;
  T& to = sum[ids[r] * sum_stride + c];
  const T part = T(round_to(stored, y[r * y_stride + c] * T(factors[r])));
  to = T(round_to(stored, to + part));
}

template <class T>
__global__ void add_kernel(T* h, const T* y, std::int64_t n, Format stored) {
  const std::int64_t i = global_index();
  if (i < n) h[i] = T(round_to(stored, h[i] + y[i]));
}

template <class T>
__global__ void exp_kernel(const T* x, std::int64_t n, T* y) {
  const std::int64_t i = global_index();
  if (i < n) y[i] = exp_(x[i]);
}

}  // namespace

void fill_words(cudaStream_t stream, void* memory, std::size_t words, std::uint32_t value) {
  if (words == 0) return;
  const std::size_t blocks = std::min<std::size_t>((words + kThreads - 1) / kThreads, 4096);
  fill_kernel<<<unsigned(blocks), kThreads, 0, stream>>>(static_cast<std::uint32_t*>(memory), words,
                                                         value);
  check_launch("fill");
}

void gather(cudaStream_t stream, bool wide, const void* table, std::int64_t table_stride,
            const std::int32_t* ids, std::int64_t rows, std::int64_t cols, void* out,
            std::int64_t out_stride) {
  if (rows * cols == 0) return;
  with_real(wide, [&]<class T>(T) {
    gather_kernel<<<blocks_for(rows * cols), kThreads, 0, stream>>>(
        static_cast<const T*>(table), table_stride, ids, rows, cols, static_cast<T*>(out),
        out_stride);
  });
  check_launch("gather");
}

void rms_norm(cudaStream_t stream, bool wide, const void* x, const void* w, double eps,
              std::int64_t rows, std::int64_t d, Format stored, void* y) {
  if (rows == 0) return;
  with_real(wide, [&]<class T>(T) {
    rms_norm_kernel<<<unsigned(rows), kLanes, 0, stream>>>(
        static_cast<const T*>(x), static_cast<const T*>(w), T(eps), d, stored, static_cast<T*>(y));
  });
  check_launch("rms_norm");
}

void layer_norm(cudaStream_t stream, bool wide, const void* x, const void* w, const void* b,
                double eps, std::int64_t rows, std::int64_t d, Format stored, void* y) {
  if (rows == 0) return;
  with_real(wide, [&]<class T>(T) {
    layer_norm_kernel<<<unsigned(rows), kLanes, 0, stream>>>(
        static_cast<const T*>(x), static_cast<const T*>(w), static_cast<const T*>(b), T(eps), d,
        stored, static_cast<T*>(y));
  });
  check_launch("layer_norm");
}

void amax(cudaStream_t stream, bool wide, const void* x, std::int64_t stride, std::int64_t rows,
          std::int64_t cols, void* out) {
  if (rows == 0) return;
  with_real(wide, [&]<class T>(T) {
    amax_kernel<<<unsigned(rows), kThreads, 0, stream>>>(static_cast<const T*>(x), stride, cols,
                                                         static_cast<T*>(out));
  });
  check_launch("amax");
}

void scales(cudaStream_t stream, const float* amax, std::int64_t ranks, std::int64_t rows,
            Format format, float* scale) {
  if (rows == 0) return;
  scales_kernel<<<blocks_for(rows), kThreads, 0, stream>>>(amax, ranks, rows, format, scale);
  check_launch("scales");
}

void quantize(cudaStream_t stream, bool wide, const void* x, std::int64_t stride, std::int64_t rows,
              std::int64_t cols, const void* scale, Format format, void* out) {
  if (rows * cols == 0) return;
  with_real(wide, [&]<class T>(T) {
    quantize_kernel<<<blocks_for(rows * cols), kThreads, 0, stream>>>(
        static_cast<const T*>(x), stride, rows, cols, static_cast<const T*>(scale), format,
        static_cast<T*>(out));
  });
  check_launch("quantize");
}

void finish(const FinishCall& call) {
  if (call.rows * call.n == 0) return;
  with_real(call.wide, [&]<class T>(T) {
    Parts<T> parts{};
    for (int i = 0; i < call.ranks; ++i) parts.part[i] = static_cast<const T*>(call.parts[i]);
    finish_kernel<<<blocks_for(call.rows * call.n), kThreads, 0, call.stream>>>(
        parts, call.ranks, call.rows, call.n, static_cast<const T*>(call.row_scale),
        call.output_scale, static_cast<const T*>(call.bias), call.stored,
        static_cast<T*>(call.out));
  });
  check_launch("finish");
}

void rope(cudaStream_t stream, bool wide, void* x, std::int64_t rows, std::int64_t heads, int d,
          int dims, const std::int64_t* positions, const void* cosine, const void* sine,
          Format stored) {
  const std::int64_t pairs = rows * heads * (dims / 2);
  if (pairs == 0) return;
  with_real(wide, [&]<class T>(T) {
    rope_kernel<<<blocks_for(pairs), kThreads, 0, stream>>>(
        static_cast<T*>(x), pairs, heads, d, dims, positions, static_cast<const T*>(cosine),
        static_cast<const T*>(sine), stored);
  });
  check_launch("rope");
}

void gated(cudaStream_t stream, bool wide, Activation f, const void* gate, const void* up,
           std::int64_t n, Format stored, void* out) {
  if (n == 0) return;
  with_real(wide, [&]<class T>(T) {
    gated_kernel<<<blocks_for(n), kThreads, 0, stream>>>(
        f, static_cast<const T*>(gate), static_cast<const T*>(up), n, stored, static_cast<T*>(out));
  });
  check_launch("gated");
}

void activate(cudaStream_t stream, bool wide, Activation f, void* x, std::int64_t n,
              Format stored) {
  if (n == 0) return;
  with_real(wide, [&]<class T>(T) {
    activate_kernel<<<blocks_for(n), kThreads, 0, stream>>>(f, static_cast<T*>(x), n, stored);
  });
  check_launch("activate");
}

void scale(cudaStream_t stream, bool wide, void* x, std::int64_t n, double factor, Format stored) {
  if (n == 0) return;
  with_real(wide, [&]<class T>(T) {
    scale_kernel<<<blocks_for(n), kThreads, 0, stream>>>(static_cast<T*>(x), n, T(factor), stored);
  });
  check_launch("scale");
}

void softcap(cudaStream_t stream, bool wide, void* x, std::int64_t n, double cap) {
  if (n == 0) return;
  with_real(wide, [&]<class T>(T) {
    softcap_kernel<<<blocks_for(n), kThreads, 0, stream>>>(static_cast<T*>(x), n, T(cap));
  });
  check_launch("softcap");
}

void add_scaled(cudaStream_t stream, bool wide, const void* y, std::int64_t y_stride,
                const std::int32_t* ids, const double* factors, std::int64_t rows,
                std::int64_t cols, Format stored, void* sum, std::int64_t sum_stride) {
  if (rows * cols == 0) return;
  with_real(wide, [&]<class T>(T) {
    add_scaled_kernel<<<blocks_for(rows * cols), kThreads, 0, stream>>>(
        static_cast<const T*>(y), y_stride, ids, factors, rows, cols, stored, static_cast<T*>(sum),
        sum_stride);
  });
  check_launch("add_scaled");
}

void add(cudaStream_t stream, bool wide, void* h, const void* y, std::int64_t n, Format stored) {
  if (n == 0) return;
  with_real(wide, [&]<class T>(T) {
    add_kernel<<<blocks_for(n), kThreads, 0, stream>>>(static_cast<T*>(h), static_cast<const T*>(y),
                                                       n, stored);
  });
  check_launch("add");
}

void exp_all(cudaStream_t stream, bool wide, const void* x, std::int64_t n, void* y) {
  if (n == 0) return;
  with_real(wide, [&]<class T>(T) {
    exp_kernel<<<blocks_for(n), kThreads, 0, stream>>>(static_cast<const T*>(x), n,
                                                       static_cast<T*>(y));
  });
  check_launch("exp");
}

}  // namespace isobit::cuda
