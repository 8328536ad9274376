// A plugin for tests on a GPU: operations by the literal text of the page (order.h), a thread for
// each row, head or element. {fault: behind} writes one value behind the output of gemm,
// {fault: nan} a NaN into it.
#include <cstdint>
#include <cstring>

#include "runtime/backends/plugin/plugin_abi.h"
#include "runtime/numerics/order.h"

namespace {

using isobit::Activation;
using isobit::Format;

constexpr int kThreads = 64;  // of a block
constexpr int kMostSegments = 32;

enum class Fault { none, behind, nan };

template <class T>
__device__ const T* row(const isobit_rows& x, std::int64_t r) {
  return static_cast<const T*>(x.data) + r * x.stride;
}
template <class T>
__device__ T* row(const isobit_out& x, std::int64_t r) {
  return static_cast<T*>(x.data) + r * x.stride;
}
__device__ std::int64_t thread_index() {
  return std::int64_t(blockIdx.x) * kThreads + threadIdx.x;
}

struct Bounds {
  std::int64_t at[kMostSegments + 1];
};

template <class T>
__global__ void gemm_kernel(isobit_gemm a, Bounds bounds, Fault fault) {
  const std::int64_t i = thread_index();
  if (i >= a.out.rows * a.out.cols) return;
  const std::int64_t m = i / a.out.cols, n = i % a.out.cols;
  const T *x = row<T>(a.x, m), *w = row<T>(a.w, n);
  T sum[kMostSegments];
  for (int s = 0; s < int(a.segments); ++s) {
    sum[s] =
        isobit::dot_chain<T>([&](std::int64_t k) { return x[k]; },
                             [&](std::int64_t k) { return w[k]; }, bounds.at[s], bounds.at[s + 1]);
  }
  const T y = isobit::neighbour_tree(sum, int(a.segments));
  const bool last = m == a.out.rows - 1 && n == a.out.cols - 1;
  row<T>(a.out, m)[n] = last && fault == Fault::nan ? isobit::canonical_nan(T(0)) : y;
  if (last && fault == Fault::behind) row<T>(a.out, m)[n + 1] = T(1);
}

template <class T>
__global__ void attention_kernel(isobit_attention a, const isobit_sequence* sequences,
                                 const isobit_query* queries, const std::int32_t* kv_of_head) {
  const std::int64_t i = thread_index();
  if (i >= a.q.rows * a.heads) return;
  const std::int64_t r = i / a.heads, h = i % a.heads, d = a.head_dim;
  const isobit_query query = queries[r];
  const isobit_sequence sequence = sequences[query.sequence];
  const std::int64_t column = kv_of_head[h] * d;
  isobit::attention_row<T>(
      row<T>(a.q, r) + h * d, int(d), T(a.scale), T(a.softcap), query.first, query.last,
      [](std::int64_t) { return true; },
      [&](std::int64_t p, int c) { return row<T>(sequence.k, p - sequence.begin)[column + c]; },
      [&](std::int64_t p, int c) { return row<T>(sequence.v, p - sequence.begin)[column + c]; },
      Format(a.out.format), row<T>(a.out, r) + h * d);
}

template <class T>
__global__ void rms_norm_kernel(isobit_rms_norm a) {
  const std::int64_t r = thread_index();
  if (r >= a.x.rows) return;
  isobit::rms_norm_row(row<T>(a.x, r), static_cast<const T*>(a.weight), T(a.eps), a.x.cols,
                       Format(a.out.format), row<T>(a.out, r));
}

template <class T>
__global__ void rope_kernel(isobit_rope a) {
  const std::int64_t r = thread_index();
  if (r >= a.x.rows) return;
  for (std::int64_t i = 0; i < a.x.cols; ++i) row<T>(a.out, r)[i] = row<T>(a.x, r)[i];
  for (std::int64_t h = 0; h < a.heads; ++h) {
    isobit::rope_head(row<T>(a.out, r) + h * a.head_dim, row<T>(a.cosine, r), row<T>(a.sine, r),
                      int(a.dims), Format(a.out.format));
  }
}

template <class T>
__global__ void gated_kernel(isobit_gated a) {
  const std::int64_t i = thread_index();
  if (i >= a.out.rows * a.out.cols) return;
  const std::int64_t r = i / a.out.cols, c = i % a.out.cols;
  const T gate = row<T>(a.gate, r)[c];
  row<T>(a.out, r)[c] = isobit::activated(Activation(a.activation), gate) * row<T>(a.up, r)[c];
}

template <class T>
__global__ void add_kernel(isobit_add a) {
  const std::int64_t i = thread_index();
  if (i >= a.out.rows * a.out.cols) return;
  const std::int64_t r = i / a.out.cols, c = i % a.out.cols;
  row<T>(a.out, r)[c] = row<T>(a.x, r)[c] + row<T>(a.y, r)[c];
}

cudaStream_t stream_of(const isobit_call* call) {
  return static_cast<cudaStream_t>(call->stream);
}
unsigned blocks(std::int64_t threads) {
  return unsigned((threads + kThreads - 1) / kThreads);
}
std::int32_t ended(isobit_call* call) {
  const cudaError_t launched = cudaGetLastError();
  if (launched == cudaSuccess) return 0;
  call->error(call, cudaGetErrorString(launched));
  return 1;
}

/// A host array in scratch memory.
template <class T>
const T* sent(isobit_call* call, const T* data, std::int64_t count) {
  void* const to = call->scratch(call, std::uint64_t(count) * sizeof(T));
  cudaMemcpyAsync(to, data, std::size_t(count) * sizeof(T), cudaMemcpyHostToDevice,
                  stream_of(call));
  return static_cast<const T*>(to);
}

/// Starts the kernel of the element that the output has.
template <class Args, class... More>
std::int32_t start(isobit_call* call, std::int64_t threads, const Args& args,
                   void (*narrow)(Args, More...), void (*wide)(Args, More...), More... more) {
  const auto kernel = args.out.element == ISOBIT_F64 ? wide : narrow;
  kernel<<<blocks(threads), kThreads, 0, stream_of(call)>>>(args, more...);
  return ended(call);
}

std::int32_t gemm(void* state, isobit_call* call, const isobit_gemm* a) {
  Bounds bounds{};
  std::memcpy(bounds.at, a->bounds, sizeof(std::int64_t) * std::size_t(a->segments + 1));
  return start(call, a->out.rows * a->out.cols, *a, gemm_kernel<float>, gemm_kernel<double>, bounds,
               *static_cast<const Fault*>(state));
}

std::int32_t attention(void*, isobit_call* call, const isobit_attention* a) {
  const isobit_sequence* sequences = sent(call, a->sequences, a->sequence_count);
  const isobit_query* queries = sent(call, a->queries, a->q.rows);
  const std::int32_t* heads = sent(call, a->kv_of_head, a->heads);
  return start(call, a->q.rows * a->heads, *a, attention_kernel<float>, attention_kernel<double>,
               sequences, queries, heads);
}

std::int32_t rms_norm(void*, isobit_call* call, const isobit_rms_norm* a) {
  return start(call, a->x.rows, *a, rms_norm_kernel<float>, rms_norm_kernel<double>);
}
std::int32_t rope(void*, isobit_call* call, const isobit_rope* a) {
  return start(call, a->x.rows, *a, rope_kernel<float>, rope_kernel<double>);
}
std::int32_t gated(void*, isobit_call* call, const isobit_gated* a) {
  return start(call, a->out.rows * a->out.cols, *a, gated_kernel<float>, gated_kernel<double>);
}
std::int32_t add(void*, isobit_call* call, const isobit_add* a) {
  return start(call, a->out.rows * a->out.cols, *a, add_kernel<float>, add_kernel<double>);
}

Fault faults[] = {Fault::none, Fault::behind, Fault::nan};  // one of them is the state

}  // namespace

const std::uint32_t isobit_plugin_abi = ISOBIT_PLUGIN_ABI;

std::int32_t isobit_plugin_open(const isobit_host* host, isobit_plugin* plugin) {
  if (host->device != ISOBIT_CUDA || host->stream == nullptr) return 1;
  plugin->state = &faults[0];
  for (std::int64_t i = 0; i < host->option_count; ++i) {
    plugin->state = &faults[std::strcmp(host->options[i].value, "nan") == 0 ? 2 : 1];
  }
  plugin->name = "gpu_plugin";
  plugin->gemm = gemm;
  plugin->attention = attention;
  plugin->rms_norm = rms_norm;
  plugin->rope = rope;
  plugin->gated = gated;
  plugin->add = add;
  return 0;
}
