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

/// look() where nothing is evicted and pages hold whole key blocks: a block at a time.
template <class V>
void look_at_all(const AttentionTask<typename V::T>& task, std::int64_t begin, std::int64_t lo,
                 std::int64_t hi, SplitView<V>& view) {
  const KvView<typename V::T>& kv = task.kv;
  const int first = int(lo - begin), last = int(hi - begin);
  for (int block = first / kKeyBlock; block <= last / kKeyBlock; ++block) {
    const std::int64_t p = begin + block * kKeyBlock;
    const std::int64_t page = p / kv.page_size, o = p % kv.page_size;
    view.block[view.blocks] = block;
    view.key[view.blocks++] = key_at<V>(kv, page, o, task.head_dim);
    const typename V::T* value = kv.v + kv.table[page] * kv.v_page_stride + o * task.head_dim;
    for (int lane = 0; lane < kKeyBlock; ++lane) {
      const int at = block * kKeyBlock + lane;
      view.hidden[at] = at < first || at > last ? -1 : 0;
      if (view.hidden[at] != 0) continue;
      view.offset[view.count] = at;
      view.value[view.count++] = value + lane * task.head_dim;
    }
  }
  // The sum's lanes go by 32 positions, the registers of a maximum by less.
  for (int i = first / 32 * 32; i < first / kKeyBlock * kKeyBlock; ++i) view.hidden[i] = -1;
  for (int i = (last / kKeyBlock + 1) * kKeyBlock; i < (last / 32 + 1) * 32; ++i) {
    view.hidden[i] = -1;
  }
}

/// Finds the visible positions of [lo, hi] and their keys and values. When pages do not hold whole
/// key blocks, visible keys are gathered into `gathered` (16 blocks of (head_dim, 16)).
template <class V>
void look(const AttentionTask<typename V::T>& task, std::int64_t begin, std::int64_t lo,
          std::int64_t hi, typename V::T* gathered, SplitView<V>& view) {
  const KvView<typename V::T>& kv = task.kv;
  view.count = 0;
  view.blocks = 0;
  if (gathered == nullptr && task.keep == nullptr) return look_at_all<V>(task, begin, lo, hi, view);
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
  Reg acc[H * B * C];
  unroll<H * B * C>([&](auto a) INVAR_ALWAYS_INLINE { acc[a] = Reg{}; });
  for (int i = 0; i < task.head_dim; ++i) {
    Reg query[H];
    unroll<H>([&](auto h) INVAR_ALWAYS_INLINE { query[h] = V::set1(q[h * task.head_dim + i]); });
    unroll<B * C>([&](auto c) INVAR_ALWAYS_INLINE {
      const Reg key = load<V>(keys[c / C] + i * kKeyBlock + c % C * V::kWidth);
      unroll<H>([&](auto h)
                    INVAR_ALWAYS_INLINE { accumulate<V>(acc[h * B * C + c], query[h], key); });
    });
  }
  const Reg scale = V::set1(task.scale);
  unroll<H * B * C>([&](auto a) INVAR_ALWAYS_INLINE {
    constexpr int h = a / (B * C), i = a % (B * C);
    store<V>(scores[h] + block[i / C] * kKeyBlock + (i % C) * V::kWidth, acc[a] * scale);
  });
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
  Reg acc[H * D];
  unroll<H * D>([&](auto a) INVAR_ALWAYS_INLINE { acc[a] = Reg{}; });
  for (int j = 0; j < view.count; ++j) {
    Reg weight[H];
    unroll<H>([&](auto h) INVAR_ALWAYS_INLINE { weight[h] = V::set1(p[h][view.offset[j]]); });
    unroll<D>([&](auto d) INVAR_ALWAYS_INLINE {
      const typename V::T* from = view.value[j] + i + d * V::kWidth;
      const Reg value = D > 1 ? load<V>(from) : load<V>(from, lanes);
      unroll<H>([&](auto h)
                    INVAR_ALWAYS_INLINE { accumulate<V>(acc[h * D + d], weight[h], value); });
    });
  }
  unroll<H * D>([&](auto a) INVAR_ALWAYS_INLINE {
    constexpr int h = a / D, d = a % D;
    typename V::T* at = out + h * head_dim + i + d * V::kWidth;
    Reg o = acc[a];
    if (state[h].started) {
      o = V::fma(load<V>(at, lanes), V::set1(state[h].a), o * V::set1(state[h].b));
    }
    store<V>(at, o, lanes);
  });
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

/// Scores, weights and sums of one split for H heads: out (H, head_dim) takes the chains, merged
/// with what it holds for a started state. False when nothing is visible.
template <class V, int H>
bool attend_split(const AttentionTask<typename V::T>& task, const typename V::T* q,
                  std::int64_t begin, Merge<V>* state, typename V::T* out) {
  using T = typename V::T;
  const int d = task.head_dim;
  const std::int64_t end = begin + kSplitKeys - 1;
  T* gathered = task.kv.page_size % kKeyBlock == 0
                    ? nullptr
                    : Scratch<V, 3>::of(std::int64_t(kSplitKeys) * d);
  SplitView<V> view;
  T scores[H][kSplitKeys] = {};
  look<V>(task, begin, begin < task.first ? task.first : begin, end < task.last ? end : task.last,
          gathered, view);
  if (view.count == 0) return false;
  score_split<V, H>(task, q, view, scores);
  for (int h = 0; h < H; ++h) {
    T m, l;
    weigh<V>(view, scores[h], m, l);
    merge_sums<V>(state[h], m, l);
  }
  constexpr int kFit = V::kAccumulators / H;  // registers of outputs a head
  constexpr int D = kFit >= 8 ? 8 : kFit >= 4 ? 4 : 2;
  int i = 0;
  for (; i + D * V::kWidth <= d; i += D * V::kWidth) {
    add_values<V, H, D>(view, scores, i, V::kWidth, d, state, out);
  }
  for (; i + 2 * V::kWidth <= d; i += 2 * V::kWidth) {
    add_values<V, H, 2>(view, scores, i, V::kWidth, d, state, out);
  }
  for (; i < d; i += V::kWidth) add_values<V, H, 1>(view, scores, i, d - i, d, state, out);
  for (int h = 0; h < H; ++h) state[h].started = true;
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

template <class V, int H>
void attend(const AttentionTask<typename V::T>& task, int head) {
  const std::int64_t d = task.head_dim;
  typename V::T* out = task.out + head * d;
  Merge<V> state[H] = {};
  for (std::int64_t begin = task.first / kSplitKeys * kSplitKeys; begin <= task.last;
       begin += kSplitKeys) {
    attend_split<V, H>(task, task.q + head * d, begin, state, out);
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
  each_head_group(task.heads, [&](auto count, int head) { attend<V, count>(task, head); });
}

/// One split by itself: part is (heads, head_dim + 2), each head's o, then m and l; l = -1 says
/// that nothing was visible.
template <class V>
void attention_part(const AttentionTask<typename V::T>& task, std::int64_t split,
                    typename V::T* part) {
  using T = typename V::T;
  const std::int64_t d = task.head_dim;
  T* sums = part + task.heads * d;  // (heads, 2)
  each_head_group(task.heads, [&](auto count, int head) {
    Merge<V> state[count] = {};
    const bool seen =
        attend_split<V, count>(task, task.q + head * d, split * kSplitKeys, state, part + head * d);
    for (int h = 0; h < count; ++h) {
      sums[2 * (head + h)] = state[h].m;
      sums[2 * (head + h) + 1] = seen ? state[h].l : T(-1);
    }
  });
}

/// Merges the parts of splits [first / 256, last / 256], in order, as attend() does on the way.
template <class V>
void attention_merge(const AttentionTask<typename V::T>& task, const typename V::T* parts) {
  using T = typename V::T;
  using Reg = typename V::Reg;
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
      each_register<V>(d, [&](std::int64_t i, std::int64_t lanes) {
        Reg o = load<V>(part + h * d + i, lanes);
        if (state.started) {
          o = V::fma(load<V>(out + i, lanes), V::set1(state.a), o * V::set1(state.b));
        }
        store<V>(out + i, o, lanes);
      });
      state.started = true;
    }
    finish_head<V>(task, state, out);
  }
}

template <class V>
constexpr KernelsOf<typename V::T> table() {
  return {gemm<V>,       finish<V>,    rms_norm<V>,       rope<V>,
          gated_silu<V>, add<V>,       round_all<V>,      quantize<V>,
          amax<V>,       attention<V>, attention_part<V>, attention_merge<V>,
          exp_all<V>};
}

}  // namespace invar::cpu::simd
