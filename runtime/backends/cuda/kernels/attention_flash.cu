// Attention over key blocks, as fused kernels make it (numerics/flash.h): one thread block computes
// one split of one query head, key block after key block; a second kernel combines the splits.
//
// A score is one thread's chain over head_dim, an output element one thread's chain over keys. Keys
// that are not visible are never read. Emulation for its bits, not for its speed.

#include <cuda_runtime.h>

#include "runtime/backends/cuda/kernels/attention.cuh"
#include "runtime/backends/cuda/kernels/flash.h"

namespace isobit::cuda {
namespace {

constexpr int kFlashKeys = kLargestFlashBlock / kThreads;  // of a thread: t, t + kThreads
constexpr int kFlashChannels = 256 / kThreads;

template <class T>
struct FlashShared {
  T q[256];
  T p[kLargestFlashBlock];
  std::int64_t v[kLargestFlashBlock];
  T warp_max[kWarps];
  std::uint32_t visible[kLargestFlashBlock / 32];
};

/// Largest of the block's values; the same in every thread. NaN wins.
template <class T>
__device__ T block_max(FlashShared<T>& shared, T m) {
  m = warp_max(m);
  if (threadIdx.x % 32 == 0) shared.warp_max[threadIdx.x / 32] = m;
  __syncthreads();
  m = shared.warp_max[0];
  for (int w = 1; w < kWarps; ++w) m = max_nan(m, shared.warp_max[w]);
  return m;
}

/// Scores of one key block from position `base` on into shared.p; gives the maximum that it brings.
/// False, and nothing written, where no key is visible.
template <class T, class E>
__device__ bool flash_block_scores(const Call<T>& call, const FlashRule& rule, const QueryRow& row,
                                   int kv, int base, FlashShared<T>& shared, T& m) {
  const AttentionCall& a = call.a;
  const int t = int(threadIdx.x);
  bool visible[kFlashKeys];
  int count = 0;
#pragma unroll
  for (int j = 0; j < kFlashKeys; ++j) {
    const int k = j * kThreads + t;
    visible[j] = k < rule.block && is_visible(a, row, base + k, kv);
    const std::uint32_t mask = __ballot_sync(0xffffffffu, visible[j]);
    if (t % 32 == 0) shared.visible[k / 32] = mask;
    count += __syncthreads_count(visible[j]);
  }
  if (count == 0) return false;
  T best = sizeof(T) == 8 ? T(double_of(0xfff0000000000000ull)) : T(float_of(0xff800000u));
#pragma unroll
  for (int j = 0; j < kFlashKeys; ++j) {
    const int k = j * kThreads + t;
    if (!visible[j]) continue;
    const E* key = static_cast<const E*>(a.k_pool) + key_offset(a, row, base + k, kv);
    shared.v[k] = value_offset(a, row, base + k, kv);
    T score = T(0);
    for (int i = 0; i < a.d; ++i) score = fma_(shared.q[i], widened(key[i * kKeyBlock]), score);
    score = score * T(a.scale);
    if (a.softcap != 0) score = softcapped(score, T(a.softcap));
    shared.p[k] = score;
    best = max_nan(best, score);
  }
  const T r = block_max(shared, best);
  int maxima = 0;
#pragma unroll
  for (int j = 0; j < kFlashKeys; ++j) {
    const bool is = visible[j] && is_flash_maximum(rule, shared.p[j * kThreads + t], r);
    maxima += __syncthreads_count(is);
  }
  m = flash_maximum(rule, r, maxima);
  return true;
}

/// Scores in shared.p to P, rounded; gives the sum before the rounding, in thread 0.
template <class T>
__device__ T flash_block_terms(const FlashRule& rule, int base, FlashShared<T>& shared, T m) {
  const int t = int(threadIdx.x);
  const auto is_seen = [&](int k) { return ((shared.visible[k / 32] >> (k % 32)) & 1u) != 0; };
  for (int k = t; k < rule.block; k += kThreads) {
    if (is_seen(k)) shared.p[k] = exp_(shared.p[k] - m);
  }
  __syncthreads();
  T sum = T(0);
  if (t < 32) {  // lane t: positions t mod 32
    for (int k = (t + 32 - base % 32) % 32; k < rule.block; k += 32) {
      if (is_seen(k)) sum = sum + shared.p[k];
    }
    for (int h = 16; h >= 1; h /= 2) sum = sum + __shfl_down_sync(0xffffffffu, sum, h);
  }
  __syncthreads();
  for (int k = t; k < rule.block; k += kThreads) {
    if (is_seen(k)) shared.p[k] = T(round_to(rule.p, shared.p[k]));
  }
  __syncthreads();
  return flash_block_sum(rule, sum);
}

/// o = o * a (the first block: +0), then the chain over the block's visible keys.
template <class T, class E>
__device__ void flash_block_outputs(const Call<T>& call, const FlashRule& rule,
                                    const FlashShared<T>& shared, const FlashState<T>& state,
                                    T (&o)[kFlashChannels]) {
  const E* values = static_cast<const E*>(call.a.v_pool);
#pragma unroll
  for (int c = 0; c < kFlashChannels; ++c) {
    const int i = c * kThreads + int(threadIdx.x);
    if (i >= call.a.d) continue;
    T acc = state.started ? o[c] * state.a : T(0);
    for (int w = 0; w * 32 < rule.block; ++w) {
      for (std::uint32_t left = shared.visible[w]; left != 0; left &= left - 1) {
        const int k = w * 32 + __ffs(int(left)) - 1;
        acc = fma_(shared.p[k], widened(values[shared.v[k] + i]), acc);
      }
    }
    o[c] = acc;
  }
}

/// grid: (splits, heads, rows). A split's part_m is its log-sum-exp, its part_o is divided by its
/// sum.
template <class T, class E>
__global__ void __launch_bounds__(kThreads) flash_kernel(Call<T> call, FlashRule rule) {
  __shared__ FlashShared<T> shared;
  const AttentionCall& a = call.a;
  const int t = int(threadIdx.x), head = int(blockIdx.y), split = int(blockIdx.x);
  const QueryRow row = a.rows[blockIdx.z];
  int kv = 0;
  while (a.head_begin[kv + 1] <= head) ++kv;
  const int positions = int(rule.blocks_of_split(row.last)) * rule.block;
  const int first = split * positions < row.first ? row.first : split * positions;
  const int end = (split + 1) * positions - 1 < row.last ? (split + 1) * positions - 1 : row.last;
  const std::int64_t part = (std::int64_t(blockIdx.z) * a.heads + head) * a.max_splits + split;
  for (int i = t; i < a.d; i += kThreads) {
    shared.q[i] = call.q[std::int64_t(blockIdx.z) * a.q_stride + std::int64_t(head) * a.d + i];
  }
  __syncthreads();
  FlashState<T> state;
  T o[kFlashChannels];
  for (int b = first / rule.block; b * rule.block <= end; ++b) {
    T m = T(0);
    if (flash_block_scores<T, E>(call, rule, row, kv, b * rule.block, shared, m)) {
      state.raise(m);
      state.add(flash_block_terms(rule, b * rule.block, shared, state.m));
      flash_block_outputs<T, E>(call, rule, shared, state, o);
      state.started = true;
    }
    __syncthreads();
  }
  if (t == 0) {
    call.part_any[part] = state.started ? 1 : 0;
    if (state.started) call.part_m[part] = flash_lse(state);
    shared.p[0] = T(1) / state.l;
  }
  __syncthreads();
#pragma unroll
  for (int c = 0; c < kFlashChannels; ++c) {
    const int i = c * kThreads + t;
    if (i < a.d && state.started) call.part_o[part * a.d + i] = o[c] * shared.p[0];
  }
}

/// grid: (heads, rows), a thread an element.
template <class T>
__global__ void combine_kernel(Call<T> call) {
  __shared__ T weight[kMostFlashSplits];
  __shared__ int part_of[kMostFlashSplits], count;
  const AttentionCall& a = call.a;
  const int i = int(threadIdx.x);
  const std::int64_t part = (std::int64_t(blockIdx.y) * a.heads + blockIdx.x) * a.max_splits;
  if (i == 0) {
    count = 0;
    for (int s = 0; s < a.max_splits; ++s) {
      if (call.part_any[part + s] == 0) continue;
      weight[count] = call.part_m[part + s];
      part_of[count++] = s;
    }
    if (count > 1) flash_weights(weight, count);
  }
  __syncthreads();
  if (i >= a.d) return;
  const auto element = [&](int s) { return call.part_o[(part + part_of[s]) * a.d + i]; };
  T o = count == 0 ? canonical_nan(T(0)) : count == 1 ? element(0) : T(0);
  for (int s = 0; count > 1 && s < count; ++s) o = fma_(weight[s], element(s), o);
  T* out = call.out + std::int64_t(blockIdx.y) * a.out_stride + std::int64_t(blockIdx.x) * a.d;
  out[i] = T(round_to(a.stored, o + T(0)));
}

template <class T, class E>
void launch(const AttentionCall& a, const FlashRule& rule) {
  const Call<T> call = make_call<T>(a);
  const dim3 grid(unsigned(a.max_splits), unsigned(a.heads), unsigned(a.row_count));
  flash_kernel<T, E><<<grid, kThreads, 0, a.stream>>>(call, rule);
  check_launch("attention_flash");
  combine_kernel<T><<<dim3(unsigned(a.heads), unsigned(a.row_count)), unsigned(a.d + 31) / 32 * 32,
                      0, a.stream>>>(call);
  check_launch("attention_flash_combine");
}

}  // namespace

void attention_flash(const AttentionCall& call, const FlashRule& rule) {
  if (call.row_count * call.heads == 0) return;
  with_pool_types(call.wide, call.cache, [&]<class T, class E>(T, E) { launch<T, E>(call, rule); });
}

}  // namespace isobit::cuda
