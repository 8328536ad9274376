// Attention over pools that hold codes, and attention's weights: one block a split, as in
// attention.cu, but every value is read as it lies - exact, or decoded in registers.
//
// A thread has two keys, one after the other; of p . V it has one element of up to four heads. The
// codec is found once a loop, not once a value. Keys that are not visible are never read.

#include <cuda_runtime.h>

#include "runtime/backends/cuda/kernels/attention.cuh"
#include "runtime/numerics/kv/codecs.h"

namespace isobit::cuda {
namespace {

/// First byte of a position's codes of one head; its tile of channel c is tiles further on.
__device__ inline std::int64_t code_offset(const AttentionCall& a, const CodeLayout& layout,
                                           const QueryRow& row, int p, int kv) {
  const std::int64_t page = a.tables[row.codes + p / layout.page_size];
  return layout.tile(page, kv, p % layout.page_size, 0);
}

/// Scores of one visible key for kHeads heads, times the scale.
template <class T>
__device__ void score(const Call<T>& call, const Shared<T>& shared, const QueryRow& row, int p,
                      int kv, T (&out)[kHeads]) {
  const AttentionCall& a = call.a;
  T acc[kHeads];
#pragma unroll
  for (int g = 0; g < kHeads; ++g) acc[g] = T(0);
  const auto step = [&](int i, T key) {
    T q[kHeads];
    load4(shared.q[i], q);
#pragma unroll
    for (int g = 0; g < kHeads; ++g) acc[g] = fma_(q[g], key, acc[g]);
  };
  if (p >= row.coded_from && p < row.k_coded) {
    const std::uint8_t* at = a.k_codes + code_offset(a, a.k_layout, row, p, kv);
    with_codec(a.k_layout.codec, [&](auto codec) {
      for (int c = 0; c < a.d; c += codec.channels()) {
        const auto tile = codec.template open<T>(at);
        for (int i = 0; i < codec.channels(); ++i) step(c + i, tile.at(p % codec.tokens(), i));
        at += a.k_layout.codec.bytes;
      }
    });
  } else {
    const std::int64_t key = key_offset(a, row, p, kv);
    for (int i = 0; i < a.d; ++i) step(i, pool_value<T>(a.k_pool, a.cache, key + i * kKeyBlock));
  }
#pragma unroll
  for (int g = 0; g < kHeads; ++g) out[g] = acc[g] * T(a.scale);
  if (a.softcap != 0) cap_scores(out, T(a.softcap));
}

/// Calls step(j, value) for the visible keys j of [begin, end) of a split, ascending.
template <class T, class Value, class Step>
__device__ void each_visible(const Shared<T>& shared, int begin, int end, const Value& value,
                             const Step& step) {
  for (int w = begin / 32; w * 32 < end; ++w) {
    for (std::uint32_t left = shared.visible[w]; left != 0; left &= left - 1) {
      const int j = w * 32 + __ffs(int(left)) - 1;
      if (j >= begin && j < end) step(j, value(j));
    }
  }
}

/// Element i of kHeads heads: a chain over the split's visible keys.
template <class T>
__device__ void output(const Call<T>& call, const Shared<T>& shared, const QueryRow& row,
                       int split_begin, int i, T (&o)[kHeads]) {
  const AttentionCall& a = call.a;
#pragma unroll
  for (int g = 0; g < kHeads; ++g) o[g] = T(0);
  const auto step = [&](int j, T value) {
    T p[kHeads];
    load4(shared.p[j], p);
#pragma unroll
    for (int g = 0; g < kHeads; ++g) o[g] = fma_(p[g], value, o[g]);
  };
  // Within the split: exact sinks, then what is coded, then exact values again.
  const auto within = [&](std::int32_t p) {
    const int left = p - split_begin;
    return left < 0 ? 0 : left < kSplit ? left : kSplit;
  };
  const int cut = within(row.v_coded);
  const int from = within(row.coded_from) < cut ? within(row.coded_from) : cut;
  const auto exact = [&](int j) { return pool_value<T>(a.v_pool, a.cache, shared.v[j] + i); };
  each_visible(shared, 0, from, exact, step);
  if (cut > from) {
    with_codec(a.v_layout.codec, [&](auto codec) {
      const std::int64_t tile = std::int64_t(i / codec.channels()) * a.v_layout.codec.bytes;
      const auto value = [&](int j) {
        return codec.template open<T>(a.v_codes + shared.v[j] + tile)
            .at((split_begin + j) % codec.tokens(), i % codec.channels());
      };
      each_visible(shared, from, cut, value, step);
    });
  }
  each_visible(shared, cut, kSplit, exact, step);
}

/// Finds the visible keys of a split and where their values lie; gives how many there are.
template <class T>
__device__ int look(const Call<T>& call, Shared<T>& shared, const QueryRow& row, int split_begin,
                    int kv, bool (&visible)[kKeys]) {
  const AttentionCall& a = call.a;
  const int t = int(threadIdx.x);
  int count = 0;
#pragma unroll
  for (int j = 0; j < kKeys; ++j) {
    const int p = split_begin + j * kThreads + t;
    visible[j] = is_visible(a, row, p, kv);
    if (visible[j]) {
      shared.v[j * kThreads + t] = p >= row.coded_from && p < row.v_coded
                                       ? code_offset(a, a.v_layout, row, p, kv)
                                       : value_offset(a, row, p, kv);
    }
    const std::uint32_t mask = __ballot_sync(0xffffffffu, visible[j]);
    if (t % 32 == 0) shared.visible[j * kWarps + t / 32] = mask;
    count += __syncthreads_count(visible[j]);
  }
  return count;
}

/// grid: (splits, kv heads, rows). kWeights: scores go to `scores`, (rows * heads, width), by their
/// positions, and there is no output.
template <class T, bool kWeights>
__global__ void __launch_bounds__(kThreads)
    coded_kernel(Call<T> call, T* scores, std::int64_t width) {
  __shared__ __align__(16) Shared<T> shared;
  const AttentionCall& a = call.a;
  const int t = int(threadIdx.x), kv = int(blockIdx.y);
  const QueryRow row = a.rows[blockIdx.z];
  const int split_begin = (row.first / kSplit + int(blockIdx.x)) * kSplit;
  if (split_begin > row.last) return;
  bool visible[kKeys];
  const int count = look(call, shared, row, split_begin, kv, visible);
  const int end = a.head_begin[kv + 1];
  for (int head = a.head_begin[kv]; head < end; head += kHeads) {
    const int heads = end - head < kHeads ? end - head : kHeads;
    const std::int64_t first = std::int64_t(blockIdx.z) * a.heads + head;
    const std::int64_t part = first * a.max_splits + blockIdx.x;
    if (t < heads) call.part_any[part + std::int64_t(t) * a.max_splits] = count;
    if (count == 0) continue;
    for (int i = t; i < kHeads * a.d; i += kThreads) {
      const int g = i / a.d;
      shared.q[i % a.d][g] =
          g < heads ? call.q[std::int64_t(blockIdx.z) * a.q_stride + std::int64_t(head) * a.d + i]
                    : T(0);
    }
    __syncthreads();
    T mine[kKeys][kHeads], m[kHeads];
#pragma unroll
    for (int j = 0; j < kKeys; ++j) {
      const int p = split_begin + j * kThreads + t;
      if (!visible[j]) continue;
      score(call, shared, row, p, kv, mine[j]);
      for (int g = 0; kWeights && g < heads; ++g) scores[(first + g) * width + p] = mine[j][g];
    }
    softmax_terms(shared, visible, heads, mine, m);
    if (t / 32 < heads) {
      const T l = sum_terms(shared, t / 32);
      if (t % 32 == 0) call.part_l[part + std::int64_t(t / 32) * a.max_splits] = l;
    }
#pragma unroll
    for (int g = 0; g < kHeads; ++g) {
      if (t == g && g < heads) call.part_m[part + std::int64_t(g) * a.max_splits] = m[g];
    }
    for (int i = t; !kWeights && i < a.d; i += kThreads) {
      T o[kHeads];
      output(call, shared, row, split_begin, i, o);
      for (int g = 0; g < heads; ++g) {
        call.part_o[(part + std::int64_t(g) * a.max_splits) * a.d + i] = o[g];
      }
    }
    __syncthreads();
  }
}

/// grid: (heads, rows): a row's scores become weights, seen from the maximum and sum of all splits.
template <class T>
__global__ void __launch_bounds__(kThreads)
    weights_kernel(Call<T> call, T* weights, std::int64_t width) {
  const AttentionCall& a = call.a;
  const QueryRow row = a.rows[blockIdx.y];
  const int splits = row.last / kSplit - row.first / kSplit + 1;
  const std::int64_t index = std::int64_t(blockIdx.y) * a.heads + blockIdx.x;
  AttentionState<T> state;
  for (int s = 0; s < splits; ++s) {
    const std::int64_t part = index * a.max_splits + s;
    if (call.part_any[part] == 0) continue;
    state.merge(call.part_m[part], call.part_l[part]);
    state.started = true;
  }
  int kv = 0;
  while (int(blockIdx.x) >= a.head_begin[kv + 1]) ++kv;
  for (std::int64_t j = threadIdx.x; j < width; j += kThreads) {
    T& weight = weights[index * width + j];
    weight = is_visible(a, row, int(j), kv) ? attention_weight(weight, state) : T(0);
  }
}

template <class T>
void launch_coded(const AttentionCall& a) {
  const Call<T> call = make_call<T>(a);
  const dim3 grid(unsigned(a.max_splits), unsigned(a.kv_heads), unsigned(a.row_count));
  coded_kernel<T, false><<<grid, kThreads, 0, a.stream>>>(call, nullptr, 0);
  check_launch("attention_coded");
  merge_parts(call);
}

template <class T>
void launch_weights(const AttentionCall& a, std::int64_t width) {
  const Call<T> call = make_call<T>(a);
  T* const out = static_cast<T*>(a.out);
  const dim3 grid(unsigned(a.max_splits), unsigned(a.kv_heads), unsigned(a.row_count));
  coded_kernel<T, true><<<grid, kThreads, 0, a.stream>>>(call, out, width);
  check_launch("attention_scores");
  weights_kernel<T>
      <<<dim3(unsigned(a.heads), unsigned(a.row_count)), kThreads, 0, a.stream>>>(call, out, width);
  check_launch("attention_weights");
}

}  // namespace

void attention_coded(const AttentionCall& call) {
  if (call.row_count * call.heads == 0) return;
  call.wide ? launch_coded<double>(call) : launch_coded<float>(call);
}

void attention_weights(const AttentionCall& call, std::int64_t width) {
  if (call.row_count * call.heads == 0) return;
  call.wide ? launch_weights<double>(call, width) : launch_weights<float>(call, width);
}

}  // namespace isobit::cuda
