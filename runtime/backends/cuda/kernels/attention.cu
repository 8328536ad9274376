// Attention over a paged cache: one block computes one 256-key split of one query row and one KV
// head for the query heads that share it; a second kernel merges the splits in position order.
//
// A score is one thread's chain over head_dim (a thread has two keys); p . V is one thread's chain
// over keys (a thread has one element of several heads, so that V is read once). Keys that are not
// visible are never read.

#include <cuda_runtime.h>

#include "runtime/backends/cuda/kernels/attention.cuh"

namespace isobit::cuda {
namespace {

/// Where a key lies, and whether the row may see it.
struct KeyPlace {
  bool visible;
  std::int64_t k, v;  // offsets in the pools
};

__device__ inline KeyPlace key_place(const AttentionCall& a, const QueryRow& row, int p, int kv) {
  KeyPlace place{is_visible(a, row, p, kv), 0, 0};
  if (!place.visible) return place;
  place.k = key_offset(a, row, p, kv);
  place.v = value_offset(a, row, p, kv);
  return place;
}

/// Scores of N keys for kHeads heads, times the scale, capped where cap is not 0.
template <class T, class E, int N>
__device__ void scores(const Shared<T>& shared, const E* const (&key)[N], int d, T scale, T cap,
                       T (*score)[kHeads]) {
  T acc[N][kHeads];
#pragma unroll
  for (int j = 0; j < N; ++j) {
#pragma unroll
    for (int g = 0; g < kHeads; ++g) acc[j][g] = T(0);
  }
  constexpr int kAhead = sizeof(T) == 4 ? 16 : 8;  // reads under way before the first is used
  const E* at[N];
#pragma unroll
  for (int j = 0; j < N; ++j) at[j] = key[j];
  const auto chain = [&](int i, auto count) {
    constexpr int kCount = decltype(count)::value;
    E k[N][kCount];
#pragma unroll
    for (int e = 0; e < kCount; ++e) {
#pragma unroll
      for (int j = 0; j < N; ++j) k[j][e] = at[j][e * kKeyBlock];
    }
#pragma unroll
    for (int e = 0; e < kCount; ++e) {
      T q[kHeads];
      load4(shared.q[i + e], q);
#pragma unroll
      for (int j = 0; j < N; ++j) {
#pragma unroll
        for (int g = 0; g < kHeads; ++g) acc[j][g] = fma_(q[g], widened(k[j][e]), acc[j][g]);
      }
    }
#pragma unroll
    for (int j = 0; j < N; ++j) at[j] += kCount * kKeyBlock;
  };
  int i = 0;
  for (; i + kAhead <= d; i += kAhead) chain(i, std::integral_constant<int, kAhead>{});
  for (; i < d; i += 8) chain(i, std::integral_constant<int, 8>{});
#pragma unroll
  for (int j = 0; j < N; ++j) {
#pragma unroll
    for (int g = 0; g < kHeads; ++g) score[j][g] = acc[j][g] * scale;
    if (cap != T(0)) cap_scores(score[j], cap);
  }
}

/// Element i of H heads from `head` on over the split's visible keys.
template <class T, class E, int H>
__device__ void output_chains(const Shared<T>& shared, const E* values, int head, int i, bool whole,
                              T (&o)[H]) {
#pragma unroll
  for (int g = 0; g < H; ++g) o[g] = T(0);
  const auto step = [&](int j, T v) {
    const T* p = &shared.p[j][head];
#pragma unroll
    for (int g = 0; g < H; ++g) o[g] = fma_(p[g], v, o[g]);
  };
  if (!whole) {
    for (int w = 0; w < kMasks; ++w) {
      for (std::uint32_t left = shared.visible[w]; left != 0; left &= left - 1) {
        const int j = w * 32 + __ffs(int(left)) - 1;
        step(j, widened(values[shared.v[j] + i]));
      }
    }
    return;
  }
  constexpr int kAhead = sizeof(T) == 4 ? 32 : 16;  // reads under way before the first is used
  for (int j = 0; j < kSplit; j += kAhead) {
    E v[kAhead];
#pragma unroll
    for (int e = 0; e < kAhead; ++e) v[e] = values[shared.v[j + e] + i];
#pragma unroll
    for (int e = 0; e < kAhead; ++e) step(j + e, widened(v[e]));
  }
}

/// Every element of every head: a thread has one element of H heads.
template <class T, class E, int H>
__device__ void outputs(const Call<T>& call, const Shared<T>& shared, std::int64_t part, int heads,
                        bool whole) {
  const int d = call.a.d;
  for (int item = int(threadIdx.x); item < d * (kHeads / H); item += kThreads) {
    const int first = item / d * H, i = item % d;
    if (first >= heads) break;
    T o[H];
    output_chains<T, E, H>(shared, static_cast<const E*>(call.a.v_pool), first, i, whole, o);
#pragma unroll
    for (int g = 0; g < H; ++g) {
      if (first + g < heads) {
        call.part_o[(part + std::int64_t(first + g) * call.a.max_splits) * d + i] = o[g];
      }
    }
  }
}

/// grid: (splits, kv heads, rows).
template <class T, class E>
__global__ void __launch_bounds__(kThreads, sizeof(T) == 4 ? 6 : 3) split_kernel(Call<T> call) {
  __shared__ __align__(16) Shared<T> shared;
  const AttentionCall& a = call.a;
  const int t = int(threadIdx.x), kv = int(blockIdx.y);
  const QueryRow row = a.rows[blockIdx.z];
  const int split = row.first / kSplit + int(blockIdx.x);
  if (split * kSplit > row.last) return;
  bool visible[kKeys];
  const E* key[kKeys];
  int count = 0;
#pragma unroll
  for (int j = 0; j < kKeys; ++j) {
    const KeyPlace place = key_place(a, row, split * kSplit + j * kThreads + t, kv);
    visible[j] = place.visible;
    key[j] = static_cast<const E*>(a.k_pool) + place.k;
    shared.v[j * kThreads + t] = place.v;
    const std::uint32_t mask = __ballot_sync(0xffffffffu, place.visible);
    if (t % 32 == 0) shared.visible[j * kWarps + t / 32] = mask;
    count += __syncthreads_count(place.visible);
  }
  const int end = a.head_begin[kv + 1];
  for (int head = a.head_begin[kv]; head < end; head += kHeads) {
    const int heads = end - head < kHeads ? end - head : kHeads;
    const std::int64_t part =
        (std::int64_t(blockIdx.z) * a.heads + head) * a.max_splits + blockIdx.x;
    if (t < heads) call.part_any[part + std::int64_t(t) * a.max_splits] = count;
    if (count == 0) continue;
    for (int i = t; i < heads * a.d; i += kThreads) {
      shared.q[i % a.d][i / a.d] =
          call.q[std::int64_t(blockIdx.z) * a.q_stride + std::int64_t(head) * a.d + i];
    }
    __syncthreads();
    T score[kKeys][kHeads], m[kHeads];
    if (count == kSplit) {
      scores<T, E, kKeys>(shared, key, a.d, T(a.scale), T(a.softcap), score);
    } else {
#pragma unroll
      for (int j = 0; j < kKeys; ++j) {
        const E* const one[1] = {key[j]};
        if (visible[j]) scores<T, E, 1>(shared, one, a.d, T(a.scale), T(a.softcap), score + j);
      }
    }
    softmax_terms(shared, visible, heads, score, m);
    if (t / 32 < heads) {
      const T l = sum_terms(shared, t / 32);
      if (t % 32 == 0) call.part_l[part + std::int64_t(t / 32) * a.max_splits] = l;
    }
#pragma unroll
    for (int g = 0; g < kHeads; ++g) {
      if (t == g && g < heads) call.part_m[part + std::int64_t(g) * a.max_splits] = m[g];
    }
    const bool whole = count == kSplit;
    if (a.d * 2 > kThreads) {
      outputs<T, E, 4>(call, shared, part, heads, whole);
    } else if (a.d * 4 > kThreads) {
      outputs<T, E, 2>(call, shared, part, heads, whole);
    } else {
      outputs<T, E, 1>(call, shared, part, heads, whole);
    }
    __syncthreads();
  }
}

/// The maximum of the splits up to a lane's, of those that have a visible key.
template <class T>
struct RunningMax {
  T m;
  bool any;
  __device__ RunningMax then(const RunningMax& next) const {
    if (!next.any || !any) return next.any ? next : *this;
    return {max_nan(m, next.m), true};
  }
  __device__ RunningMax shuffle_up(int by) const {
    return {__shfl_up_sync(0xffffffffu, m, by), __shfl_up_sync(0xffffffffu, int(any), by) != 0};
  }
};

/// grid: (heads, rows), a thread an element, whole warps: the merge of attention_row(). A warp
/// takes 32 splits at a time: the factors of split s in lane s, then the chain in order.
template <class T>
__global__ void merge_kernel(Call<T> call) {
  constexpr unsigned kAll = 0xffffffffu;
  const AttentionCall& a = call.a;
  const int i = int(threadIdx.x), lane = i % 32;
  const QueryRow row = a.rows[blockIdx.y];
  const int splits = row.last / kSplit - row.first / kSplit + 1;
  const std::int64_t part = (std::int64_t(blockIdx.y) * a.heads + blockIdx.x) * a.max_splits;
  RunningMax<T> before{T(0), false};
  T o = T(0), sum = T(0);
  for (int s0 = 0; s0 < splits; s0 += 32) {
    const std::int64_t at = part + s0 + lane;
    const bool any = s0 + lane < splits && call.part_any[at] != 0;
    const T l = any ? call.part_l[at] : T(0);
    RunningMax<T> own{any ? call.part_m[at] : T(0), any}, upto = own;
    for (int h = 1; h < 32; h *= 2) {
      const RunningMax<T> left = upto.shuffle_up(h);
      if (lane >= h) upto = left.then(upto);
    }
    RunningMax<T> earlier = upto.shuffle_up(1);
    earlier = lane == 0 ? before : before.then(earlier);
    const RunningMax<T> merged = before.then(upto);
    const bool started = earlier.any;
    const T scale_old = any && started ? exp_(earlier.m - merged.m) : T(1);
    const T scale_new = any && started ? exp_(own.m - merged.m) : T(1);
    const unsigned have = __ballot_sync(kAll, any), first = __ballot_sync(kAll, any && !started);
    constexpr int kAhead = 8;
    for (int s = 0; s < 32 && s0 + s < splits; s += kAhead) {
      T value[kAhead];
#pragma unroll
      for (int e = 0; e < kAhead; ++e) {
        value[e] = T(0);
        if (i < a.d && ((have >> (s + e)) & 1u) != 0) {
          value[e] = call.part_o[(part + s0 + s + e) * a.d + i];
        }
      }
#pragma unroll
      for (int e = 0; e < kAhead; ++e) {
        const T x = __shfl_sync(kAll, scale_old, s + e), y = __shfl_sync(kAll, scale_new, s + e);
        const T terms = __shfl_sync(kAll, l, s + e);
        if (((have >> (s + e)) & 1u) == 0) continue;
        const bool begins = ((first >> (s + e)) & 1u) != 0;
        o = begins ? value[e] : fma_(o, x, value[e] * y);
        sum = begins ? terms : fma_(sum, x, terms * y);
      }
    }
    before = {__shfl_sync(kAll, merged.m, 31), __shfl_sync(kAll, int(merged.any), 31) != 0};
  }
  if (i >= a.d) return;
  T* out = call.out + std::int64_t(blockIdx.y) * a.out_stride + std::int64_t(blockIdx.x) * a.d;
  out[i] = before.any ? T(round_to(a.stored, o * (T(1) / sum) + T(0))) : canonical_nan(T(0));
}

std::size_t aligned(std::size_t bytes) {
  return (bytes + 255) / 256 * 256;
}

}  // namespace

template <class T>
Call<T> make_call(const AttentionCall& a) {
  const std::size_t parts = std::size_t(a.row_count * a.heads) * std::size_t(a.max_splits);
  auto* memory = static_cast<char*>(a.workspace);
  const auto take = [&](std::size_t bytes) {
    char* at = memory;
    memory += aligned(bytes);
    return at;
  };
  Call<T> call{
      a, static_cast<const T*>(a.q), static_cast<T*>(a.out), nullptr, nullptr, nullptr, nullptr};
  call.part_m = reinterpret_cast<T*>(take(parts * sizeof(T)));
  call.part_l = reinterpret_cast<T*>(take(parts * sizeof(T)));
  call.part_o = reinterpret_cast<T*>(take(parts * std::size_t(a.d) * sizeof(T)));
  call.part_any = reinterpret_cast<std::int32_t*>(take(parts * 4));
  return call;
}
template Call<float> make_call(const AttentionCall& a);
template Call<double> make_call(const AttentionCall& a);

template <class T>
void merge_parts(const Call<T>& call) {
  const AttentionCall& a = call.a;
  merge_kernel<T><<<dim3(unsigned(a.heads), unsigned(a.row_count)), unsigned(a.d + 31) / 32 * 32, 0,
                    a.stream>>>(call);
  check_launch("attention_merge");
}
template void merge_parts(const Call<float>& call);
template void merge_parts(const Call<double>& call);

namespace {

template <class T, class E>
void launch(const AttentionCall& a) {
  const Call<T> call = make_call<T>(a);
  const dim3 grid(unsigned(a.max_splits), unsigned(a.kv_heads), unsigned(a.row_count));
  split_kernel<T, E><<<grid, kThreads, 0, a.stream>>>(call);
  check_launch("attention_split");
  merge_parts(call);
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
  with_pool_types(call.wide, call.cache, [&]<class T, class E>(T, E) { launch<T, E>(call); });
}

}  // namespace isobit::cuda
