// Attention's weights by themselves, for policies that keep the heaviest keys: the scores of each
// split, then what they are from the final maximum and sum. Callers: simd_table.h.
#pragma once

#include "runtime/backends/cpu/kernels/simd_attention.h"

namespace isobit::cpu::simd {

template <class E>
void scores_of(const TaskOf<E>& task, std::int64_t split, std::int64_t width,
               typename E::V::T* weights, typename E::V::T* sums) {
  using T = typename E::V::T;
  const std::int64_t d = task.head_dim, begin = split * kSplitKeys;
  const std::int64_t lo = begin < task.first ? task.first : begin;
  const std::int64_t hi = begin + kSplitKeys - 1 < task.last ? begin + kSplitKeys - 1 : task.last;
  SplitView<E> view;
  look<E>(task, begin, lo, hi, room_to_gather<E>(task), view);
  for (int h = 0; h < task.heads; ++h) sums[2 * h + 1] = T(-1);
  if (view.count == 0) return;
  each_head_group(task.heads, [&](auto count, int head) {
    T scores[count][kSplitKeys] = {};
    score_split<E, count>(task, task.q + head * d, view, scores);
    for (int h = 0; h < count; ++h) {
      std::memcpy(weights + (head + h) * width + lo, scores[h] + (lo - begin),
                  std::size_t(hi - lo + 1) * sizeof(T));
      weigh<E>(view, scores[h], sums[2 * (head + h)], sums[2 * (head + h) + 1]);
    }
  });
}

/// The split's scores by their positions, and each head's maximum and sum.
template <class V>
void weights_part(const AttentionTask<typename V::T>& task, std::int64_t split, std::int64_t width,
                  typename V::T* weights, typename V::T* sums) {
  with_elements<V>(task.kv, [&]<class E>(E) { scores_of<E>(task, split, width, weights, sums); });
}

/// Scores become weights, seen from the maximum and sum of all splits.
template <class V>
void weights_merge(const AttentionTask<typename V::T>& task, std::int64_t width,
                   const typename V::T* sums, typename V::T* weights) {
  using T = typename V::T;
  using Reg = typename V::Reg;
  const std::int64_t splits = task.last / kSplitKeys - task.first / kSplitKeys + 1;
  for (int h = 0; h < task.heads; ++h) {
    Merge<V> state{};
    for (std::int64_t s = 0; s < splits; ++s) {
      const T* sum = sums + (s * task.heads + h) * 2;
      if (sum[1] == T(-1)) continue;
      merge_sums<V>(state, sum[0], sum[1]);
      state.started = true;
    }
    const Reg top = V::set1(state.m), inverse = V::set1(T(1)) / V::set1(state.l);
    T* row = weights + h * width;
    each_register<V>(task.last - task.first + 1, [&](std::int64_t i, std::int64_t lanes) {
      T* at = row + task.first + i;
      store<V>(at, canonical<V>(exp_register<V>(load<V>(at, lanes) - top) * inverse), lanes);
    });
    for (std::int64_t j = 0; j < width; ++j) {
      if (j < task.first || j > task.last || (task.keep != nullptr && task.keep[j] == 0)) {
        row[j] = T(0);
      }
    }
  }
}

}  // namespace isobit::cpu::simd
