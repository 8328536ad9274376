// Scores and outputs of one split straight from codes: what simd_attention.h does with values, with
// each value made in registers, fma(code, scale, low), between its load and its use.
// Callers: simd_attention.h.
#pragma once

#include "runtime/backends/cpu/kernels/simd_split.h"

namespace isobit::cpu::simd {

/// A code's value needs a scale and a minimum: of keys those of a position's 32 channels, or
/// (kByChannel) those of a channel's 32 positions.
template <class Registers, bool kByChannel_>
struct Codes {
  using V = Registers;
  using Stored = std::int8_t;
  static constexpr bool kByChannel = kByChannel_;
};
template <class E>
constexpr bool kIsCodes = false;
template <class V, bool kByChannel>
constexpr bool kIsCodes<Codes<V, kByChannel>> = true;

/// Calls f with a value of the type that reads a view. Codes are read as such in fp32 alone.
template <class V, class F>
void with_elements(const KvView<typename V::T>& kv, F&& f) {
  if constexpr (sizeof(typename V::T) == 4) {
    if (kv.split != nullptr && kv.split->by_channel) return f(Codes<V, true>{});
    if (kv.split != nullptr) return f(Codes<V, false>{});
    if (kv.element == Format::bf16) return f(Halves<V, Format::bf16>{});
    if (kv.element == Format::fp16) return f(Halves<V, Format::fp16>{});
  }
  f(Reals<V>{});
}

/// Scores of H heads with key blocks b to b + B - 1.
template <class E, int H, int B>
[[gnu::noinline]] void score_codes(const TaskOf<E>& task, const typename E::V::T* q,
                                   const SplitView<E>& view, int b,
                                   typename E::V::T (*scores)[kSplitKeys]) {
  using V = typename E::V;
  using Reg = typename V::Reg;
  using T = typename V::T;
  constexpr int C = kKeyBlock / V::kWidth;
  const SplitCodes<T>& codes = *task.kv.split;
  const std::int64_t across = task.head_dim / kGroupCodes;
  Reg acc[H * B * C];
  unroll<H * B * C>([&](auto a) ISOBIT_ALWAYS_INLINE { acc[a] = Reg{}; });
  for (int first = 0; first < task.head_dim; first += kGroupCodes) {
    Reg scale[B * C], low[B * C];  // by position
    const T *scales[B], *lows[B];  // by channel
    unroll<B * C>([&](auto c) ISOBIT_ALWAYS_INLINE {
      const std::int64_t block = view.block[b + c / C];
      if constexpr (E::kByChannel) {
        scales[c / C] = codes.key_scale + block / 2 * task.head_dim + first;
        lows[c / C] = codes.key_low + block / 2 * task.head_dim + first;
      } else {
        const std::int64_t at =
            (block * across + first / kGroupCodes) * kKeyBlock + c % C * V::kWidth;
        scale[c] = load<V>(codes.key_scale + at);
        low[c] = load<V>(codes.key_low + at);
      }
    });
    for (int i = 0; i < kGroupCodes; ++i) {
      Reg query[H];
      unroll<H>([&](auto h)
                    ISOBIT_ALWAYS_INLINE { query[h] = V::set1(q[h * task.head_dim + first + i]); });
      unroll<B * C>([&](auto c) ISOBIT_ALWAYS_INLINE {
        const Reg code =
            code_register<V>(view.key[b + c / C] + (first + i) * kKeyBlock + c % C * V::kWidth);
        Reg key;
        if constexpr (E::kByChannel) {
          key = V::fma(code, V::set1(scales[c / C][i]), V::set1(lows[c / C][i]));
        } else {
          key = V::fma(code, scale[c], low[c]);
        }
        unroll<H>([&](auto h)
                      ISOBIT_ALWAYS_INLINE { accumulate<V>(acc[h * B * C + c], query[h], key); });
      });
    }
  }
  const Reg factor = V::set1(task.scale);
  unroll<H * B * C>([&](auto a) ISOBIT_ALWAYS_INLINE {
    constexpr int h = a / (B * C), i = a % (B * C);
    const int at = view.block[b + i / C] * kKeyBlock + i % C * V::kWidth;
    store<V>(scores[h] + at, acc[a] * factor);
    if (task.cap != 0) task.cap_scores(scores[h] + at, V::kWidth, task.cap);
  });
}

template <class E, int H>
void score_split_codes(const TaskOf<E>& task, const typename E::V::T* q, const SplitView<E>& view,
                       typename E::V::T (*scores)[kSplitKeys]) {
  using V = typename E::V;
  constexpr int kFit = V::kAccumulators / (2 * H * (kKeyBlock / V::kWidth));
  constexpr int B = kFit >= 4 ? 4 : kFit >= 2 ? 2 : 1;
  int b = 0;
  for (; b + B <= view.blocks; b += B) score_codes<E, H, B>(task, q, view, b, scores);
  for (; b < view.blocks; ++b) score_codes<E, H, 1>(task, q, view, b, scores);
}

/// D registers of the chains of H heads from column i on, over a split's visible positions. A scale
/// serves 32 columns.
template <class E, int H, int D>
[[gnu::noinline]] void add_codes(const TaskOf<E>& task, const SplitView<E>& view,
                                 const typename E::V::T (*p)[kSplitKeys], int i,
                                 typename E::V::T* chain) {
  using V = typename E::V;
  using Reg = typename V::Reg;
  constexpr int G = (D * V::kWidth + kGroupCodes - 1) / kGroupCodes;
  const std::int64_t across = task.head_dim / kGroupCodes, group = i / kGroupCodes;
  const auto& codes = *task.kv.split;
  const auto* scales = codes.value_scale + group;
  const auto* lows = codes.value_low + group;
  Reg acc[H * D];
  unroll<H * D>([&](auto a) ISOBIT_ALWAYS_INLINE { acc[a] = Reg{}; });
  int j = 0;
  do {
    const int at = view.offset[j];
    const std::int8_t* const row = codes.value[at] + group * codes.value_stride + i % kGroupCodes;
    Reg scale[G], low[G], weight[H];
    unroll<G>([&](auto g) ISOBIT_ALWAYS_INLINE {
      scale[g] = V::set1(scales[at * across + g]);
      low[g] = V::set1(lows[at * across + g]);
    });
    unroll<H>([&](auto h) ISOBIT_ALWAYS_INLINE { weight[h] = V::set1(p[h][at]); });
    unroll<D>([&](auto d) ISOBIT_ALWAYS_INLINE {
      constexpr int g = d * V::kWidth / kGroupCodes, in_group = d * V::kWidth % kGroupCodes;
      const Reg code = code_register<V>(row + g * codes.value_stride + in_group);
      const Reg value = V::fma(code, scale[g], low[g]);
      unroll<H>([&](auto h)
                    ISOBIT_ALWAYS_INLINE { accumulate<V>(acc[h * D + d], weight[h], value); });
    });
  } while (++j < view.count);
  unroll<H * D>([&](auto a) ISOBIT_ALWAYS_INLINE {
    store<V>(chain + a / D * task.head_dim + i + a % D * V::kWidth, acc[a]);
  });
}

/// The chains of H heads. REQUIRES: a position is visible.
template <class E, int H>
void add_split_codes(const TaskOf<E>& task, const SplitView<E>& view,
                     const typename E::V::T (*p)[kSplitKeys], typename E::V::T* chain) {
  using V = typename E::V;
  constexpr int kFit = V::kAccumulators / H, kGroup = kGroupCodes / V::kWidth;
  constexpr int D = kFit >= kGroup ? kGroup : kFit >= 4 ? 4 : kFit >= 2 ? 2 : 1;
  int i = 0;
  if constexpr (kFit >= 2 * kGroup) {
    for (; i + 2 * kGroupCodes <= task.head_dim; i += 2 * kGroupCodes) {
      add_codes<E, H, 2 * kGroup>(task, view, p, i, chain);
    }
  }
  for (; i < task.head_dim; i += D * V::kWidth) add_codes<E, H, D>(task, view, p, i, chain);
}

}  // namespace isobit::cpu::simd
