// Attention of one query position: scores over 16 keys at once, exp over vectors, p·V over
// head_dim. Every score is one chain over head_dim, every output element one chain over ascending
// visible positions, and splits merge as NUMERICS.md says: only independent chains share a
// register. A hidden position's K may lie in a register beside a visible one, where its lane is
// discarded; its V is never loaded. Heads that share K and V go through together, up to four.
// Callers: kernels_*.cc.
#pragma once

#include "runtime/backends/cpu/kernels_simd_gemm.h"

namespace invar::cpu::simd {

constexpr int kSplitKeys = 256;
constexpr int kBlocks = kSplitKeys / kKeyBlock;

/// What one query sees of one split.
template <class V>
struct SplitView {
  using T = typename V::T;
  int count = 0;                          // visible positions
  int offset[kSplitKeys];                 // (count): of the split's start
  const T* value[kSplitKeys];             // (count): rows of V
  int blocks = 0;                         // key blocks with a visible position
  int block[kBlocks];                     // (blocks)
  const T* key[kBlocks];                  // (blocks): (head_dim, 16)
  typename V::Signed hidden[kSplitKeys];  // -1 hides
};

template <class V>
const typename V::T* key_at(const KvView<typename V::T>& kv, std::int64_t page, std::int64_t o,
                            int head_dim) {
  return kv.k + kv.table[page] * kv.k_page_stride + (o / kKeyBlock) * kKeyBlock * head_dim +
         o % kKeyBlock;
}

/// Finds the visible positions of [lo, hi] and their keys and values. When pages do not hold whole
/// key blocks, visible keys are gathered into `gathered` (16 blocks of (head_dim, 16)).
template <class V>
void look(const AttentionTask<typename V::T>& task, std::int64_t begin, std::int64_t lo,
          std::int64_t hi, typename V::T* gathered, SplitView<V>& view) {
  const KvView<typename V::T>& kv = task.kv;
  view.count = 0;
  view.blocks = 0;
  for (int i = 0; i < kSplitKeys; ++i) view.hidden[i] = -1;
  std::int64_t page = lo / kv.page_size, o = lo % kv.page_size;
  for (std::int64_t p = lo; p <= hi; ++p, ++o) {
    if (o == kv.page_size) {
      o = 0;
      ++page;
    }
    if (task.keep != nullptr && task.keep[p] == 0) continue;
    const int at = int(p - begin), block = at / kKeyBlock, lane = at % kKeyBlock;
    view.hidden[at] = 0;
    view.offset[view.count] = at;
    view.value[view.count++] = kv.v + kv.table[page] * kv.v_page_stride + o * task.head_dim;
    if (view.blocks == 0 || view.block[view.blocks - 1] != block) {
      view.block[view.blocks] = block;
      view.key[view.blocks++] = gathered != nullptr ? gathered + block * kKeyBlock * task.head_dim
                                                    : key_at<V>(kv, page, o - lane, task.head_dim);
    }
    if (gathered != nullptr) {
      const typename V::T* from = key_at<V>(kv, page, o, task.head_dim);
      typename V::T* to = gathered + block * kKeyBlock * task.head_dim + lane;
      for (int i = 0; i < task.head_dim; ++i) to[i * kKeyBlock] = from[i * kKeyBlock];
    }
  }
}

/// Scores of H heads with B key blocks: scores[h][block * 16 + lane].
template <class V, int H, int B>
void score_blocks(const AttentionTask<typename V::T>& task, const typename V::T* q,
                  const typename V::T* const* keys, const int* block,
                  typename V::T (*scores)[kSplitKeys]) {
  using Reg = typename V::Reg;
  constexpr int C = kKeyBlock / V::kWidth;
  Reg acc[H][B * C] = {};
  for (int i = 0; i < task.head_dim; ++i) {
    Reg query[H];
    unroll<H>([&](auto h) INVAR_ALWAYS_INLINE { query[h] = V::set1(q[h * task.head_dim + i]); });
    unroll<B>([&](auto b) INVAR_ALWAYS_INLINE {
      unroll<C>([&](auto c) INVAR_ALWAYS_INLINE {
        const Reg key = load<V>(keys[b] + i * kKeyBlock + c * V::kWidth);
        unroll<H>([&](auto h) INVAR_ALWAYS_INLINE {
          acc[h][b * C + c] = V::fma(query[h], key, acc[h][b * C + c]);
        });
      });
    });
  }
  const Reg scale = V::set1(task.scale);
  for (int h = 0; h < H; ++h) {
    for (int i = 0; i < B * C; ++i) {
      store<V>(scores[h] + block[i / C] * kKeyBlock + (i % C) * V::kWidth, acc[h][i] * scale);
    }
  }
}

/// Turns a split's scores into p = exp(score - m), 0 where hidden; gives m and the lane sum.
template <class V>
void weigh(const SplitView<V>& view, typename V::T* scores, typename V::T& m, typename V::T& l) {
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
    for (int j = 0; j < kRegisters; ++j) {
      const int at = i + j * V::kWidth;
      const Reg p = hidden(at) ? Reg{} : exp_register<V>(load<V>(scores + at) - top);
      store<V>(scores + at, p);
      lane[j] = lane[j] + p;
    }
  }
  T sum[kSumLaneCount];
  for (int j = 0; j < kRegisters; ++j) store<V>(sum + j * V::kWidth, lane[j]);
  for (int h = kSumLaneCount / 2; h >= 1; h /= 2) {
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

/// D registers of the outputs of H heads from column i on: the chain over visible positions, then
/// the merge with what the heads' rows of `out` hold.
template <class V, int H, int D>
void add_values(const SplitView<V>& view, const typename V::T (*p)[kSplitKeys], int i,
                std::int64_t lanes, int head_dim, const Merge<V>* state, typename V::T* out) {
  using Reg = typename V::Reg;
  Reg acc[H][D] = {};
  for (int j = 0; j < view.count; ++j) {
    Reg value[D];
    unroll<D>([&](auto d) INVAR_ALWAYS_INLINE {
      value[d] =
          D > 1 ? load<V>(view.value[j] + i + d * V::kWidth) : load<V>(view.value[j] + i, lanes);
    });
    unroll<H>([&](auto h) INVAR_ALWAYS_INLINE {
      const Reg weight = V::set1(p[h][view.offset[j]]);
      unroll<D>([&](auto d)
                    INVAR_ALWAYS_INLINE { acc[h][d] = V::fma(weight, value[d], acc[h][d]); });
    });
  }
  for (int h = 0; h < H; ++h) {
    for (int d = 0; d < D; ++d) {
      typename V::T* at = out + h * head_dim + i + d * V::kWidth;
      Reg o = acc[h][d];
      if (state[h].started) {
        o = V::fma(load<V>(at, lanes), V::set1(state[h].a), o * V::set1(state[h].b));
      }
      store<V>(at, o, lanes);
    }
  }
}

template <class V, int H>
void score_split(const AttentionTask<typename V::T>& task, const typename V::T* q,
                 const SplitView<V>& view, typename V::T (*scores)[kSplitKeys]) {
  constexpr int C = kKeyBlock / V::kWidth;
  constexpr int kFit = V::kAccumulators / (H * C);
  constexpr int B = kFit >= 8 ? 8 : kFit >= 4 ? 4 : kFit >= 2 ? 2 : 1;
  int b = 0;
  for (; b + B <= view.blocks; b += B) {
    score_blocks<V, H, B>(task, q, view.key + b, view.block + b, scores);
  }
  for (; b < view.blocks; ++b) {
    score_blocks<V, H, 1>(task, q, view.key + b, view.block + b, scores);
  }
}

template <class V, int H>
void attend(const AttentionTask<typename V::T>& task, int head) {
  using T = typename V::T;
  using Reg = typename V::Reg;
  const int d = task.head_dim;
  const T* q = task.q + head * d;
  T* out = task.out + head * d;
  T* gathered = task.kv.page_size % kKeyBlock == 0
                    ? nullptr
                    : Scratch<V, 3>::of(std::int64_t(kSplitKeys) * d);
  Merge<V> state[H] = {};
  SplitView<V> view;
  T scores[H][kSplitKeys] = {};
  for (std::int64_t begin = task.first / kSplitKeys * kSplitKeys; begin <= task.last;
       begin += kSplitKeys) {
    const std::int64_t end = begin + kSplitKeys - 1;
    look<V>(task, begin, begin < task.first ? task.first : begin, end < task.last ? end : task.last,
            gathered, view);
    if (view.count == 0) continue;
    score_split<V, H>(task, q, view, scores);
    for (int h = 0; h < H; ++h) {
      T m, l;
      weigh<V>(view, scores[h], m, l);
      merge_sums<V>(state[h], m, l);
    }
    int i = 0;
    for (; i + 4 * V::kWidth <= d; i += 4 * V::kWidth) {
      add_values<V, H, 4>(view, scores, i, V::kWidth, d, state, out);
    }
    for (; i < d; i += V::kWidth) add_values<V, H, 1>(view, scores, i, d - i, d, state, out);
    for (int h = 0; h < H; ++h) state[h].started = true;
  }
  for (int h = 0; h < H; ++h) {
    const bool seen = state[h].started;
    const Reg inverse = V::set1(T(1)) / V::set1(state[h].l);
    each_register<V>(d, [&](std::int64_t i, std::int64_t lanes) {
      const Reg o = seen ? load<V>(out + h * d + i, lanes) * inverse + Reg{} : nan_register<V>();
      store<V>(out + h * d + i, round_register<V>(task.stored, o), lanes);
    });
  }
}

template <class V>
void attention(const AttentionTask<typename V::T>& task) {
  int head = 0;
  for (; head + 4 <= task.heads; head += 4) attend<V, 4>(task, head);
  for (; head + 2 <= task.heads; head += 2) attend<V, 2>(task, head);
  if (head < task.heads) attend<V, 1>(task, head);
}

template <class V>
constexpr KernelsOf<typename V::T> table() {
  return {gemm<V>,      finish<V>,   rms_norm<V>, rope<V>,      gated_silu<V>, add<V>,
          round_all<V>, quantize<V>, amax<V>,     attention<V>, exp_all<V>};
}

}  // namespace invar::cpu::simd
