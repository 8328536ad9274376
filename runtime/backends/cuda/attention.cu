// Attention over a paged cache: one block computes one 256-key split of one query row and one KV
// head for the query heads that share it; a second kernel merges the splits in position order.
//
// A score is one thread's chain over head_dim (thread = key); p . V is one thread's chain over
// keys (thread = element). Keys that are not visible are never read.

#include <cuda_runtime.h>

#include "runtime/backends/cuda/device.h"
#include "runtime/backends/cuda/kernels.h"
#include "runtime/numerics/order.h"

namespace invar::cuda {
namespace {

constexpr int kHeads = 4;  // query heads that share one reading of K and V
constexpr int kWarps = kSplit / 32;

template <class T>
struct Call {
  AttentionCall a;
  const T *q, *k, *v;
  T* out;
  T *part_m, *part_l, *part_o;  // by (row, head, split): maximum, sum, output
  std::int32_t* part_any;       // 0: no visible key
};

/// Where thread's key lies, and whether the row may see it.
struct KeyPlace {
  bool visible;
  std::int64_t k, v;  // offsets in the pools
};

template <class T>
__device__ KeyPlace key_place(const AttentionCall& a, const QueryRow& row, int split, int kv) {
  const int p = split * kSplit + int(threadIdx.x);
  KeyPlace place{p >= row.first && p <= row.last, 0, 0};
  if (place.visible && row.keep >= 0) place.visible = a.keeps[row.keep + p] != 0;
  if (!place.visible) return place;
  const int o = p % a.page_size;
  const std::int64_t page = a.tables[row.table + p / a.page_size];
  place.k = page * a.shape.k_page + kv * a.shape.k_head +
            std::int64_t(o / kDeviceKeyBlock) * kDeviceKeyBlock * a.d + o % kDeviceKeyBlock;
  place.v = page * a.shape.v_page + kv * a.shape.v_head + std::int64_t(o) * a.d;
  return place;
}

/// Largest of a warp's values; the same in every lane. NaN wins.
template <class T>
__device__ T warp_max(T m) {
  for (int h = 16; h >= 1; h /= 2) m = max_nan(m, __shfl_xor_sync(0xffffffffu, m, h));
  return m;
}

template <class T>
struct Shared {
  T p[kHeads][kSplit];
  T warp_max[kHeads][kWarps];
  std::int64_t v[kSplit];
  std::uint32_t visible[kWarps];
  T q[kHeads][256];
};

/// Scores of this thread's key for up to kHeads heads, times the scale.
template <class T>
__device__ void scores(const Shared<T>& shared, const T* key, int d, T scale, T (&score)[kHeads]) {
#pragma unroll
  for (int g = 0; g < kHeads; ++g) score[g] = T(0);
  for (int i = 0; i < d; i += 8) {
    T k[8];
#pragma unroll
    for (int e = 0; e < 8; ++e) k[e] = key[std::int64_t(i + e) * kDeviceKeyBlock];
#pragma unroll
    for (int g = 0; g < kHeads; ++g) {
#pragma unroll
      for (int e = 0; e < 8; ++e) score[g] = fma_(shared.q[g][i + e], k[e], score[g]);
    }
  }
#pragma unroll
  for (int g = 0; g < kHeads; ++g) score[g] = score[g] * scale;
}

/// p = exp(score - m) into shared memory; gives each head's maximum in m.
template <class T>
__device__ void softmax_terms(Shared<T>& shared, bool visible, int heads, const T (&score)[kHeads],
                              T (&m)[kHeads]) {
  const int t = int(threadIdx.x);
  const T lowest = sizeof(T) == 8 ? T(double_of(0xfff0000000000000ull)) : T(float_of(0xff800000u));
#pragma unroll
  for (int g = 0; g < kHeads; ++g) {
    const T best = warp_max(visible ? score[g] : lowest);
    if (t % 32 == 0) shared.warp_max[g][t / 32] = best;
  }
  __syncthreads();
#pragma unroll
  for (int g = 0; g < kHeads; ++g) {
    m[g] = shared.warp_max[g][0];
    for (int w = 1; w < kWarps; ++w) m[g] = max_nan(m[g], shared.warp_max[g][w]);
    if (visible && g < heads) shared.p[g][t] = exp_(score[g] - m[g]);
  }
  __syncthreads();
}

/// Sum of one head's p: lane = position mod 32, then the tree. Called by whole warps.
template <class T>
__device__ T sum_terms(const Shared<T>& shared, int head) {
  const int lane = int(threadIdx.x) % 32;
  T sum = T(0);
  for (int w = 0; w < kWarps; ++w) {
    if ((shared.visible[w] >> lane) & 1u) sum = sum + shared.p[head][w * 32 + lane];
  }
  for (int h = 16; h >= 1; h /= 2) sum = sum + __shfl_down_sync(0xffffffffu, sum, h);
  return sum;
}

/// Output element i of one head over the split's visible keys.
template <class T>
__device__ T output_chain(const Shared<T>& shared, const T* values, int head, int i, bool whole) {
  T o = T(0);
  if (whole) {
#pragma unroll 16
    for (int j = 0; j < kSplit; ++j) o = fma_(shared.p[head][j], values[shared.v[j] + i], o);
    return o;
  }
  for (int w = 0; w < kWarps; ++w) {
    for (std::uint32_t left = shared.visible[w]; left != 0; left &= left - 1) {
      const int j = w * 32 + __ffs(int(left)) - 1;
      o = fma_(shared.p[head][j], values[shared.v[j] + i], o);
    }
  }
  return o;
}

/// grid: (splits, kv heads, rows), 256 threads.
template <class T>
__global__ void __launch_bounds__(kSplit) split_kernel(Call<T> call) {
  __shared__ Shared<T> shared;
  const AttentionCall& a = call.a;
  const int t = int(threadIdx.x), kv = int(blockIdx.y);
  const QueryRow row = a.rows[blockIdx.z];
  const int split = row.first / kSplit + int(blockIdx.x);
  if (split * kSplit > row.last) return;
  const KeyPlace place = key_place<T>(a, row, split, kv);
  shared.v[t] = place.v;
  const std::uint32_t mask = __ballot_sync(0xffffffffu, place.visible);
  if (t % 32 == 0) shared.visible[t / 32] = mask;
  const int count = __syncthreads_count(place.visible);
  const int end = a.head_begin[kv + 1];
  for (int head = a.head_begin[kv]; head < end; head += kHeads) {
    const int heads = end - head < kHeads ? end - head : kHeads;
    const std::int64_t part =
        (std::int64_t(blockIdx.z) * a.heads + head) * a.max_splits + blockIdx.x;
    if (t < heads) call.part_any[part + std::int64_t(t) * a.max_splits] = count;
    if (count == 0) continue;
    for (int i = t; i < heads * a.d; i += kSplit) {
      shared.q[i / a.d][i % a.d] =
          call.q[std::int64_t(blockIdx.z) * a.q_stride + std::int64_t(head) * a.d + i];
    }
    __syncthreads();
    T score[kHeads], m[kHeads];
    if (place.visible) scores(shared, call.k + place.k, a.d, T(a.scale), score);
    softmax_terms(shared, place.visible, heads, score, m);
    if (t / 32 < heads) {
      const T l = sum_terms(shared, t / 32);
      if (t % 32 == 0) call.part_l[part + std::int64_t(t / 32) * a.max_splits] = l;
    }
#pragma unroll
    for (int g = 0; g < kHeads; ++g) {
      if (t == g && g < heads) call.part_m[part + std::int64_t(g) * a.max_splits] = m[g];
    }
    for (int i = t; i < heads * a.d; i += kSplit) {
      const int g = i / a.d;
      call.part_o[(part + std::int64_t(g) * a.max_splits) * a.d + i % a.d] =
          output_chain(shared, call.v, g, i % a.d, count == kSplit);
    }
    __syncthreads();
  }
}

/// grid: (heads, rows), a thread an element: the merge of attention_row().
template <class T>
__global__ void merge_kernel(Call<T> call) {
  const AttentionCall& a = call.a;
  const int i = int(threadIdx.x), head = int(blockIdx.x);
  const QueryRow row = a.rows[blockIdx.y];
  const int splits = row.last / kSplit - row.first / kSplit + 1;
  const std::int64_t part = (std::int64_t(blockIdx.y) * a.heads + head) * a.max_splits;
  AttentionState<T> state{T(0), T(0), false};
  T o = T(0);
  for (int s = 0; s < splits; ++s) {
    if (call.part_any[part + s] == 0) continue;
    const T m = call.part_m[part + s], l = call.part_l[part + s];
    const T own = call.part_o[(part + s) * a.d + i];
    const T merged = state.started ? max_nan(state.m, m) : m;
    const T scale_old = state.started ? exp_(state.m - merged) : T(1);
    const T scale_new = state.started ? exp_(m - merged) : T(1);
    o = state.started ? fma_(o, scale_old, own * scale_new) : own;
    state.l = state.started ? fma_(state.l, scale_old, l * scale_new) : l;
    state.m = merged;
    state.started = true;
  }
  T* out = call.out + std::int64_t(blockIdx.y) * a.out_stride + std::int64_t(head) * a.d;
  out[i] = state.started ? T(round_to(a.stored, o * (T(1) / state.l) + T(0))) : canonical_nan(T(0));
}

template <class T>
__global__ void write_kernel(KvCall call, const T* k, std::int64_t k_stride, const T* v,
                             std::int64_t v_stride, const std::int64_t* slots, std::int64_t count,
                             T* k_pool, T* v_pool) {
  const std::int64_t index = std::int64_t(blockIdx.x) * 256 + std::int64_t(threadIdx.x);
  if (index >= count) return;
  const std::int64_t width = call.kv_heads * call.d;
  const std::int64_t r = index / width, h = index % width / call.d, i = index % call.d;
  const std::int64_t page = slots[r] / call.page_size, o = slots[r] % call.page_size;
  k_pool[page * call.shape.k_page + h * call.shape.k_head +
         o / kDeviceKeyBlock * kDeviceKeyBlock * call.d + o % kDeviceKeyBlock +
         i * kDeviceKeyBlock] = k[r * k_stride + h * call.d + i];
  v_pool[page * call.shape.v_page + h * call.shape.v_head + o * call.d + i] =
      v[r * v_stride + h * call.d + i];
}

template <class T>
__global__ void read_kernel(KvCall call, std::int64_t slot, const T* k_pool, const T* v_pool, T* k,
                            T* v) {
  const std::int64_t index = std::int64_t(blockIdx.x) * 256 + std::int64_t(threadIdx.x);
  if (index >= call.kv_heads * call.d) return;
  const std::int64_t h = index / call.d, i = index % call.d;
  const std::int64_t page = slot / call.page_size, o = slot % call.page_size;
  k[index] = k_pool[page * call.shape.k_page + h * call.shape.k_head +
                    o / kDeviceKeyBlock * kDeviceKeyBlock * call.d + o % kDeviceKeyBlock +
                    i * kDeviceKeyBlock];
  v[index] = v_pool[page * call.shape.v_page + h * call.shape.v_head + o * call.d + i];
}

std::size_t aligned(std::size_t bytes) {
  return (bytes + 255) / 256 * 256;
}

template <class T>
void launch(const AttentionCall& a) {
  const std::size_t parts = std::size_t(a.row_count * a.heads) * std::size_t(a.max_splits);
  auto* memory = static_cast<char*>(a.workspace);
  const auto take = [&](std::size_t bytes) {
    char* at = memory;
    memory += aligned(bytes);
    return at;
  };
  Call<T> call{a,
               static_cast<const T*>(a.q),
               static_cast<const T*>(a.k_pool),
               static_cast<const T*>(a.v_pool),
               static_cast<T*>(a.out),
               nullptr,
               nullptr,
               nullptr,
               nullptr};
  call.part_m = reinterpret_cast<T*>(take(parts * sizeof(T)));
  call.part_l = reinterpret_cast<T*>(take(parts * sizeof(T)));
  call.part_o = reinterpret_cast<T*>(take(parts * std::size_t(a.d) * sizeof(T)));
  call.part_any = reinterpret_cast<std::int32_t*>(take(parts * 4));
  const dim3 grid(unsigned(a.max_splits), unsigned(a.kv_heads), unsigned(a.row_count));
  split_kernel<T><<<grid, kSplit, 0, a.stream>>>(call);
  check_launch("attention_split");
  merge_kernel<T>
      <<<dim3(unsigned(a.heads), unsigned(a.row_count)), unsigned(a.d), 0, a.stream>>>(call);
  check_launch("attention_merge");
}

}  // namespace

std::size_t attention_bytes(bool wide, std::int64_t rows, std::int64_t heads, int d,
                            std::int32_t max_splits) {
  const std::size_t parts = std::size_t(rows * heads) * std::size_t(max_splits);
  const std::size_t real = wide ? 8 : 4;
  return 2 * aligned(parts * real) + aligned(parts * std::size_t(d) * real) + aligned(parts * 4);
}

void attention(const AttentionCall& call) {
  if (call.row_count * call.heads == 0) return;
  call.wide ? launch<double>(call) : launch<float>(call);
}

void write_kv(const KvCall& call, const void* k, std::int64_t k_stride, const void* v,
              std::int64_t v_stride, const std::int64_t* slots, std::int64_t rows, void* k_pool,
              void* v_pool) {
  const std::int64_t count = rows * call.kv_heads * call.d;
  if (count == 0) return;
  const auto run = [&]<class T>(T) {
    write_kernel<T><<<unsigned((count + 255) / 256), 256, 0, call.stream>>>(
        call, static_cast<const T*>(k), k_stride, static_cast<const T*>(v), v_stride, slots, count,
        static_cast<T*>(k_pool), static_cast<T*>(v_pool));
  };
  call.wide ? run(double{}) : run(float{});
  check_launch("write_kv");
}

void read_kv(const KvCall& call, std::int64_t slot, const void* k_pool, const void* v_pool, void* k,
             void* v) {
  const std::int64_t count = call.kv_heads * call.d;
  if (count == 0) return;
  const auto run = [&]<class T>(T) {
    read_kernel<T><<<unsigned((count + 255) / 256), 256, 0, call.stream>>>(
        call, slot, static_cast<const T*>(k_pool), static_cast<const T*>(v_pool),
        static_cast<T*>(k), static_cast<T*>(v));
  };
  call.wide ? run(double{}) : run(float{});
  check_launch("read_kv");
}

}  // namespace invar::cuda
