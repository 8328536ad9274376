// What the kernels of attention share: a call with its parts, the terms and sums of one split.
// Device code. Callers: attention.cu, attention_coded.cu.
#pragma once

#include <type_traits>

#include "runtime/backends/cuda/device/device.h"
#include "runtime/backends/cuda/kernels/elements.cuh"
#include "runtime/numerics/order.h"

namespace isobit::cuda {

constexpr int kHeads = 4;                 // query heads that share one reading of K and V
constexpr int kThreads = 128;             // of a split
constexpr int kKeys = kSplit / kThreads;  // of a thread: t, t + kThreads
constexpr int kWarps = kThreads / 32;
constexpr int kMasks = kSplit / 32;

template <class T>
struct Call {
  AttentionCall a;
  const T* q;
  T* out;
  T *part_m, *part_l, *part_o;  // by (row, head, split): maximum, sum, output
  std::int32_t* part_any;       // 0: no visible key
};

/// A call with its parts in the workspace.
template <class T>
Call<T> make_call(const AttentionCall& a);
/// Queues the merge of every row's and head's splits.
template <class T>
void merge_parts(const Call<T>& call);

/// Whether a row may see position p of KV head kv.
__device__ inline bool is_visible(const AttentionCall& a, const QueryRow& row, int p, int kv) {
  if (p < row.first || p > row.last) return false;
  return row.keep < 0 || a.keeps[row.keep + kv * row.keep_stride + p] != 0;
}
/// Offsets of an exact key and value in the pools.
__device__ inline std::int64_t key_offset(const AttentionCall& a, const QueryRow& row, int p,
                                          int kv) {
  const int o = p % a.page_size;
  const std::int64_t page = a.tables[row.table + p / a.page_size];
  return page * a.shape.k_page + kv * a.shape.k_head +
         std::int64_t(o / kKeyBlock) * kKeyBlock * a.d + o % kKeyBlock;
}
__device__ inline std::int64_t value_offset(const AttentionCall& a, const QueryRow& row, int p,
                                            int kv) {
  const std::int64_t page = a.tables[row.table + p / a.page_size];
  return page * a.shape.v_page + kv * a.shape.v_head + std::int64_t(p % a.page_size) * a.d;
}

/// Largest of a warp's values; the same in every lane. NaN wins.
template <class T>
__device__ T warp_max(T m) {
  for (int h = 16; h >= 1; h /= 2) m = max_nan(m, __shfl_xor_sync(0xffffffffu, m, h));
  return m;
}

/// The soft cap of the scores of one key. A call of its own: few models have one.
template <class T>
__device__ __noinline__ void cap_scores(T* score, T cap) {
  for (int g = 0; g < kHeads; ++g) score[g] = softcapped(score[g], cap);
}

template <class T>
struct Shared {
  T q[256][kHeads];
  T p[kSplit][kHeads];
  std::int64_t v[kSplit];
  T warp_max[kWarps][kHeads];
  std::uint32_t visible[kMasks];
};

/// p = exp(score - m) into shared memory; gives each head's maximum in m.
template <class T>
__device__ void softmax_terms(Shared<T>& shared, const bool (&visible)[kKeys], int heads,
                              const T (&score)[kKeys][kHeads], T (&m)[kHeads]) {
  const int t = int(threadIdx.x);
  const T lowest = sizeof(T) == 8 ? T(double_of(0xfff0000000000000ull)) : T(float_of(0xff800000u));
#pragma unroll
  for (int g = 0; g < kHeads; ++g) {
    T best = lowest;
#pragma unroll
    for (int j = 0; j < kKeys; ++j) {
      if (visible[j]) best = max_nan(best, score[j][g]);
    }
    best = warp_max(best);
    if (t % 32 == 0) shared.warp_max[t / 32][g] = best;
  }
  __syncthreads();
#pragma unroll
  for (int g = 0; g < kHeads; ++g) {
    m[g] = shared.warp_max[0][g];
    for (int w = 1; w < kWarps; ++w) m[g] = max_nan(m[g], shared.warp_max[w][g]);
#pragma unroll
    for (int j = 0; j < kKeys; ++j) {
      const bool there = visible[j] && g < heads;
      shared.p[j * kThreads + t][g] = there ? exp_(score[j][g] - m[g]) : T(0);
    }
  }
  __syncthreads();
}

/// Sum of one head's p: lane = position mod 32, then the tree. Called by whole warps.
template <class T>
__device__ T sum_terms(const Shared<T>& shared, int head) {
  const int lane = int(threadIdx.x) % 32;
  T sum = T(0);
  for (int w = 0; w < kMasks; ++w) {
    if ((shared.visible[w] >> lane) & 1u) sum = sum + shared.p[w * 32 + lane][head];
  }
  for (int h = 16; h >= 1; h /= 2) sum = sum + __shfl_down_sync(0xffffffffu, sum, h);
  return sum;
}

}  // namespace isobit::cuda
