// Attention of one query position: scores over 16 keys at once, exp over vectors, p·V over
// head_dim. Every score is one chain over head_dim, every output element one chain over ascending
// visible positions, and splits merge as NUMERICS.md says: only independent chains share a
// register. A hidden position's K may lie in a register beside a visible one, where its lane is
// discarded; its V is never loaded. Heads that share K and V go through together, up to four.
//
// A long context is read once from memory, and what counts is how much of it is on its way at a
// time: scores read V's lines beside K's, two blocks far apart at once, so that memory has four
// streams to follow while the sums are made. Prefetch instructions did not do: when their queue is
// full the processor drops them. E says what is read (simd_elements.h, simd_coded.h).
// Callers: simd_scores.h, simd_table.h.
#pragma once

#include "runtime/backends/cpu/kernels/simd_coded.h"

namespace isobit::cpu::simd {

constexpr int kMostHeadDim = 256;

/// Reads a byte of each line of 16 elements.
template <class E>
ISOBIT_ALWAYS_INLINE inline void touch(const typename E::Stored* from) {
  constexpr int kBytes = kKeyBlock * int(sizeof(typename E::Stored));
  constexpr int kLines = kBytes < 64 ? 1 : kBytes / 64;
  unroll<kLines>([&](auto line) ISOBIT_ALWAYS_INLINE {
    (void)*(reinterpret_cast<const volatile char*>(from) + line * 64);
  });
}

/// Scores of H heads with key blocks b, b + apart, … (B of them): scores[h][block * 16 + lane].
/// Meanwhile reads a line of V for each line of K.
template <class E, int H, int B>
[[gnu::noinline]] void score_blocks(const TaskOf<E>& task, const typename E::V::T* q,
                                    const SplitView<E>& view, int b, int apart,
                                    typename E::V::T (*scores)[kSplitKeys]) {
  using V = typename E::V;
  using Reg = typename V::Reg;
  constexpr int C = kKeyBlock / V::kWidth;
  const typename E::Stored* keys[B];
  const typename E::Stored* touched[B];
  unroll<B>([&](auto c) ISOBIT_ALWAYS_INLINE {
    keys[c] = view.key[b + c * apart];
    touched[c] = view.touched[b + c * apart];
  });
  Reg acc[H * B * C];
  unroll<H * B * C>([&](auto a) ISOBIT_ALWAYS_INLINE { acc[a] = Reg{}; });
  for (int i = 0; i < task.head_dim; ++i) {
    Reg query[H];
    unroll<H>([&](auto h) ISOBIT_ALWAYS_INLINE { query[h] = V::set1(q[h * task.head_dim + i]); });
    unroll<B>([&](auto c) ISOBIT_ALWAYS_INLINE { touch<E>(touched[c] + i * kKeyBlock); });
    unroll<B * C>([&](auto c) ISOBIT_ALWAYS_INLINE {
      const Reg key = E::load(keys[c / C] + i * kKeyBlock + c % C * V::kWidth);
      unroll<H>([&](auto h)
                    ISOBIT_ALWAYS_INLINE { accumulate<V>(acc[h * B * C + c], query[h], key); });
    });
  }
  const Reg scale = V::set1(task.scale);
  unroll<H * B * C>([&](auto a) ISOBIT_ALWAYS_INLINE {
    constexpr int h = a / (B * C), i = a % (B * C);
    const int at = view.block[b + i / C * apart] * kKeyBlock + i % C * V::kWidth;
    store<V>(scores[h] + at, acc[a] * scale);
    if (task.cap != 0) task.cap_scores(scores[h] + at, V::kWidth, task.cap);
  });
}

/// Turns a split's scores into p = exp(score - m), 0 where hidden; gives m and the lane sum.
template <class E>
void weigh(const SplitView<E>& view, typename E::V::T* scores, typename E::V::T& m,
           typename E::V::T& l) {
  using V = typename E::V;
  using T = typename V::T;
  using Reg = typename V::Reg;
  using Ints = typename V::Ints;
  constexpr int kSumLaneCount = 32, kRegisters = kSumLaneCount / V::kWidth;
  const int first = view.offset[0] / kSumLaneCount * kSumLaneCount;
  const int last = view.offset[view.count - 1];
  const auto hidden = [&](int i) {
    Ints mask;
    std::memcpy(&mask, view.hidden + i, sizeof mask);
    return mask;
  };
  Reg greatest = -infinity_register<V>();
  Ints nan{};
  for (int i = first; i <= last; i += V::kWidth) {
    const Reg s = hidden(i) ? -infinity_register<V>() : load<V>(scores + i);
    nan |= (Ints)(s != s);
    greatest = s > greatest ? s : greatest;
  }
  m = greatest_lane<V>(greatest, nan);
  const Reg top = V::set1(m);
  Reg lane[kRegisters] = {};
  for (int i = first; i <= last; i += kSumLaneCount) {
    unroll<kRegisters>([&](auto j) ISOBIT_ALWAYS_INLINE {
      const int at = i + j * V::kWidth;
      const Reg p = hidden(at) ? Reg{} : exp_register<V>(load<V>(scores + at) - top);
      store<V>(scores + at, p);
      lane[j] = lane[j] + p;
    });
  }
  for (int h = kRegisters / 2; h >= 1; h /= 2) {
    for (int j = 0; j < h; ++j) lane[j] = lane[j] + lane[j + h];
  }
  T sum[V::kWidth];
  store<V>(sum, lane[0]);
  for (int h = V::kWidth / 2; h >= 1; h /= 2) {
    for (int i = 0; i < h; ++i) sum[i] = sum[i] + sum[i + h];
  }
  l = sum[0];
}

/// State of the merge of one head: maximum, sum, and the factors of the step at hand.
template <class V>
struct Merge {
  typename V::T m, l, a, b;
  bool started;
};

template <class V>
void merge_sums(Merge<V>& state, typename V::T m, typename V::T l) {
  using T = typename V::T;
  if (!state.started) {
    state = {m, l, T(1), T(1), false};
    return;
  }
  const bool nan = state.m != state.m || m != m;
  const T merged = nan ? nan_register<V>()[0] : m > state.m ? m : state.m;
  typename V::Reg difference{};
  difference[0] = state.m - merged;
  difference[1] = m - merged;
  const typename V::Reg factor = exp_register<V>(difference);
  const typename V::Reg old_sum = V::set1(state.l), new_sum = V::set1(l);
  state.a = factor[0];
  state.b = factor[1];
  state.l = V::fma(old_sum, V::set1(state.a), new_sum * V::set1(state.b))[0];
  state.m = merged;
}

/// D registers of the chains of H heads from column i on, over visible positions [begin, end),
/// at least one. Its own function, as score_blocks is: inlined, g++ keeps sums in memory.
template <class E, int H, int D>
[[gnu::noinline]] void add_values(const SplitView<E>& view, const typename E::V::T (*p)[kSplitKeys],
                                  int begin, int end, int i, std::int64_t lanes, int head_dim,
                                  typename E::V::T* chain) {
  using V = typename E::V;
  using Reg = typename V::Reg;
  const auto at = [&](int a) ISOBIT_ALWAYS_INLINE {
    return chain + a / D * head_dim + i + a % D * V::kWidth;
  };
  Reg acc[H * D];
  unroll<H * D>([&](auto a) ISOBIT_ALWAYS_INLINE { acc[a] = load<V>(at(a), lanes); });
  int j = begin;
  do {
    Reg weight[H];
    unroll<H>([&](auto h) ISOBIT_ALWAYS_INLINE { weight[h] = V::set1(p[h][view.offset[j]]); });
    unroll<D>([&](auto d) ISOBIT_ALWAYS_INLINE {
      const typename E::Stored* from = view.value[j] + i + d * V::kWidth;
      const Reg value = D > 1 ? E::load(from) : E::load(from, lanes);
      unroll<H>([&](auto h)
                    ISOBIT_ALWAYS_INLINE { accumulate<V>(acc[h * D + d], weight[h], value); });
    });
  } while (++j < end);
  unroll<H * D>([&](auto a) ISOBIT_ALWAYS_INLINE { store<V>(at(a), acc[a], lanes); });
}

/// The chains of H heads over a split's visible positions, in pieces that stay in the first cache
/// while all their columns are taken.
template <class E, int H>
void add_split(const SplitView<E>& view, const typename E::V::T (*p)[kSplitKeys], int head_dim,
               typename E::V::T* chain) {
  using V = typename E::V;
  constexpr int kPositions = 32;
  constexpr int kFit = V::kAccumulators / H;  // registers of outputs a head
  constexpr int D = kFit >= 8 ? 8 : kFit >= 4 ? 4 : 2;
  constexpr int W = V::kWidth;
  std::memset(chain, 0, std::size_t(H * head_dim) * sizeof(typename V::T));
  for (int begin = 0; begin < view.count; begin += kPositions) {
    const int end = begin + kPositions < view.count ? begin + kPositions : view.count;
    int i = 0;
    for (; i + D * W <= head_dim; i += D * W) {
      add_values<E, H, D>(view, p, begin, end, i, W, head_dim, chain);
    }
    for (; i + 2 * W <= head_dim; i += 2 * W) {
      add_values<E, H, 2>(view, p, begin, end, i, W, head_dim, chain);
    }
    for (; i < head_dim; i += W) {
      add_values<E, H, 1>(view, p, begin, end, i, head_dim - i, head_dim, chain);
    }
  }
}

/// A head's chains join what its row of `out` holds.
template <class V>
void merge_outputs(const Merge<V>& state, const typename V::T* chain, int head_dim,
                   typename V::T* out) {
  each_register<V>(head_dim, [&](std::int64_t i, std::int64_t lanes) {
    typename V::Reg o = load<V>(chain + i, lanes);
    if (state.started) {
      o = V::fma(load<V>(out + i, lanes), V::set1(state.a), o * V::set1(state.b));
    }
    store<V>(out + i, o, lanes);
  });
}

template <class E, int H>
void score_split(const TaskOf<E>& task, const typename E::V::T* q, const SplitView<E>& view,
                 typename E::V::T (*scores)[kSplitKeys]) {
  if constexpr (kIsCodes<E>) {
    score_split_codes<E, H>(task, q, view, scores);
  } else {
    constexpr int C = kKeyBlock / E::V::kWidth;
    constexpr int kFit = E::V::kAccumulators / (H * C);
    constexpr int B = kFit >= 8 ? 8 : kFit >= 4 ? 4 : kFit >= 2 ? 2 : 1;
    const int apart = view.blocks / B;
    for (int b = 0; b < apart; ++b) score_blocks<E, H, B>(task, q, view, b, apart, scores);
    for (int b = apart * B; b < view.blocks; ++b) {
      score_blocks<E, H, 1>(task, q, view, b, 0, scores);
    }
  }
}

/// Scores, weights and sums of one split for H heads: out (H, head_dim) takes the chains, merged
/// with what it holds for a started state. False when nothing is visible.
template <class E, int H>
bool attend_split(const TaskOf<E>& task, const typename E::V::T* q, std::int64_t begin,
                  Merge<typename E::V>* state, typename E::V::T* out) {
  using V = typename E::V;
  using T = typename V::T;
  const int d = task.head_dim;
  const std::int64_t end = begin + kSplitKeys - 1;
  SplitView<E> view;
  T scores[H][kSplitKeys] = {};
  T chain[H * kMostHeadDim];  // (H, head_dim)
  look<E>(task, begin, begin < task.first ? task.first : begin, end < task.last ? end : task.last,
          room_to_gather<E>(task), view);
  if (view.count == 0) return false;
  score_split<E, H>(task, q, view, scores);
  for (int h = 0; h < H; ++h) {
    T m, l;
    weigh<E>(view, scores[h], m, l);
    merge_sums<V>(state[h], m, l);
  }
  if constexpr (kIsCodes<E>) {
    add_split_codes<E, H>(task, view, scores, chain);
  } else {
    add_split<E, H>(view, scores, d, chain);
  }
  for (int h = 0; h < H; ++h) {
    merge_outputs<V>(state[h], chain + h * d, d, out + h * d);
    state[h].started = true;
  }
  return true;
}

/// The last step of one head: o / l, rounded; NaN when nothing was visible.
template <class V>
void finish_head(const AttentionTask<typename V::T>& task, const Merge<V>& state,
                 typename V::T* out) {
  using Reg = typename V::Reg;
  const Reg inverse = V::set1(typename V::T(1)) / V::set1(state.l);
  each_register<V>(task.head_dim, [&](std::int64_t i, std::int64_t lanes) {
    const Reg o = state.started ? load<V>(out + i, lanes) * inverse + Reg{} : nan_register<V>();
    store<V>(out + i, round_register<V>(task.stored, o), lanes);
  });
}

template <class E, int H>
void attend(const TaskOf<E>& task, int head) {
  using V = typename E::V;
  const std::int64_t d = task.head_dim;
  typename V::T* out = task.out + head * d;
  Merge<V> state[H] = {};
  for (std::int64_t split = task.first / kSplitKeys; split <= task.last / kSplitKeys; ++split) {
    attend_split<E, H>(task, task.q + head * d, split * kSplitKeys, state, out);
  }
  for (int h = 0; h < H; ++h) finish_head<V>(task, state[h], out + h * d);
}

/// Calls f with the heads in groups of at most four: f(count as a constant, first head).
template <class F>
void each_head_group(int heads, F&& f) {
  int head = 0;
  for (; head + 4 <= heads; head += 4) f(std::integral_constant<int, 4>{}, head);
  if (head + 3 == heads) return f(std::integral_constant<int, 3>{}, head);
  if (head + 2 == heads) return f(std::integral_constant<int, 2>{}, head);
  if (head < heads) f(std::integral_constant<int, 1>{}, head);
}

template <class V>
void attention(const AttentionTask<typename V::T>& task) {
  with_elements<V>(task.kv, [&]<class E>(E) {
    each_head_group(task.heads, [&](auto count, int head) { attend<E, count>(task, head); });
  });
}

/// One split by itself: part is (heads, head_dim + 2), each head's o, then m and l; l = -1 says
/// that nothing was visible.
template <class V>
void attention_part(const AttentionTask<typename V::T>& task, std::int64_t split,
                    typename V::T* part) {
  using T = typename V::T;
  const std::int64_t d = task.head_dim;
  T* sums = part + task.heads * d;  // (heads, 2)
  with_elements<V>(task.kv, [&]<class E>(E) {
    each_head_group(task.heads, [&](auto count, int head) {
      Merge<V> state[count] = {};
      const bool seen = attend_split<E, count>(task, task.q + head * d, split * kSplitKeys, state,
                                               part + head * d);
      for (int h = 0; h < count; ++h) {
        sums[2 * (head + h)] = state[h].m;
        sums[2 * (head + h) + 1] = seen ? state[h].l : T(-1);
      }
    });
  });
}

/// Merges the parts of splits [first / 256, last / 256], in order, as attend() does on the way.
template <class V>
void attention_merge(const AttentionTask<typename V::T>& task, const typename V::T* parts) {
  using T = typename V::T;
  const std::int64_t d = task.head_dim, size = task.heads * (d + 2);
  const std::int64_t splits = task.last / kSplitKeys - task.first / kSplitKeys + 1;
  for (int h = 0; h < task.heads; ++h) {
    Merge<V> state{};
    T* out = task.out + h * d;
    for (std::int64_t s = 0; s < splits; ++s) {
      const T* part = parts + s * size;
      const T m = part[task.heads * d + 2 * h], l = part[task.heads * d + 2 * h + 1];
      if (l == T(-1)) continue;
      merge_sums<V>(state, m, l);
      merge_outputs<V>(state, part + h * d, task.head_dim, out);
      state.started = true;
    }
    finish_head<V>(task, state, out);
  }
}

}  // namespace isobit::cpu::simd
