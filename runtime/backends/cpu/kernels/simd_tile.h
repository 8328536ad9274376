// The inner loops of the matrix product: chains of many outputs side by side.
//
// A tile is R rows by N registers of outputs over a block of columns (many rows), or R
// rows by a whole panel over all segments, several at once (few rows: what counts there is reading
// every weight once, in order). Each chain takes its own k in ascending order from +0; a chain that
// a block cuts is put down as it is and taken up again. Finished segments join in the neighbour
// tree: a binary counter of partial sums, the earlier operand on the left.
// Callers: kernels/simd_gemm.h.
#pragma once

#include "runtime/backends/cpu/kernels/simd_weights.h"

namespace isobit::cpu::simd {

constexpr int kTreeLevels = 6;       // 32 segments
constexpr int kPrefetchFar = 16384;  // bytes ahead in the stream of weights that few rows read

/// A part of one segment's chain.
struct Piece {
  std::int64_t begin, end;  // columns
  int depth;                // partial sums that wait on the counter
  int folds;                // how many of them the finished segment joins
  bool fresh, finished;     // holds the segment's first (last) column
};

/// R rows and one group of outputs over a block of columns.
template <class V>
struct Tile {
  using T = typename V::T;
  const T* x;           // (columns of the block, R)
  const void* weights;  // (columns of the block, 32), at the group's first output
  const char* ahead;    // weights that will be wanted,
  std::int64_t pace;    // and how many bytes of them to ask for at each prefetch
  const Piece* pieces;
  int count;
  bool root;  // the last piece ends the last segment
  T* level;   // (levels, R * N registers): the counter between blocks
  T* out;     // (R, stride), at the group's first output
  std::int64_t out_stride;
  std::int64_t outputs;  // valid outputs from there on
};

/// Canonical sums of R rows by N registers, in order.
template <class V, bool kPaired, int R, int N>
ISOBIT_ALWAYS_INLINE inline void store_sums(typename V::Reg* acc, typename V::T* out,
                                            std::int64_t stride, std::int64_t outputs) {
  using Reg = typename V::Reg;
  unroll<R>([&](auto r) ISOBIT_ALWAYS_INLINE {
    Reg* row = acc + r * N;
    if constexpr (kPaired) {
      unroll<N / 2>([&](auto n) ISOBIT_ALWAYS_INLINE {
        const Reg even = row[2 * n], odd = row[2 * n + 1];
        row[2 * n] = V::interleave_low(even, odd);
        row[2 * n + 1] = V::interleave_high(even, odd);
      });
    }
    unroll<N>([&](auto n) ISOBIT_ALWAYS_INLINE {
      const std::int64_t at = n * V::kWidth;
      if (at < outputs) store<V>(out + r * stride + at, canonical<V>(row[n]), outputs - at);
    });
  });
}

template <class V>
constexpr int panel_registers() {
  return kPanel / V::kWidth;
}

/// Rows by whole panels that fit the registers.
template <class V>
constexpr int strip_rows() {
  constexpr int rows = V::kAccumulators / panel_registers<V>();
  return rows < V::kRows ? rows : V::kRows;
}

/// Registers of outputs of a tile: a whole panel when there are few rows.
template <class V, int R>
constexpr int tile_columns() {
  return R <= strip_rows<V>() ? panel_registers<V>() : V::kColumns;
}

/// One k for R rows by N registers, two registers of weights at a time when registers are short.
template <class V, class W, int R, int N>
ISOBIT_ALWAYS_INLINE inline void step(const typename V::T* x, const typename W::Element* weights,
                                      typename V::Reg* acc) {
  constexpr int kRegisters = V::kAccumulators > 12 ? 32 : 16;
  constexpr int kGroup = R * N + N + 1 > kRegisters && N > 2 ? 2 : N;
  unroll<N / kGroup>([&](auto g) ISOBIT_ALWAYS_INLINE {
    typename V::Reg w[kGroup];
    W::template load<kGroup>(weights + g * kGroup * V::kWidth, w);
    unroll<R>([&](auto r) ISOBIT_ALWAYS_INLINE {
      const typename V::Reg broadcast = V::set1(x[r]);
      unroll<kGroup>([&](auto n) ISOBIT_ALWAYS_INLINE {
        accumulate<V>(acc[r * N + g * kGroup + n], broadcast, w[n]);
      });
    });
    if (kGroup < N) __asm__ volatile("" ::: "memory");  // x is loaded again, not kept
  });
}

template <class V, Format kElement, int R>
void run_tile(const Tile<V>& tile) {
  using Reg = typename V::Reg;
  using W = Weights<V, kElement>;
  constexpr int N = tile_columns<V, R>(), kSize = R * N, kSlot = kSize * V::kWidth;
  constexpr int kLines = (N * V::kWidth * int(sizeof(typename V::T)) + 63) / 64;
  const typename V::T* x = tile.x;
  const auto* weights = static_cast<const typename W::Element*>(tile.weights);
  const char* ahead = tile.ahead;
  if (tile.root) {
    unroll<R>([&](auto r) ISOBIT_ALWAYS_INLINE {
      __builtin_prefetch(tile.out + r * tile.out_stride, 1, 3);
    });
  }
  for (int p = 0; p < tile.count; ++p) {
    const Piece& piece = tile.pieces[p];
    typename V::T* slot = tile.level + piece.depth * kSlot;
    Reg acc[kSize];
    if (piece.fresh) {
      unroll<kSize>([&](auto i) ISOBIT_ALWAYS_INLINE { acc[i] = Reg{}; });
    } else {
      unroll<kSize>([&](auto i) ISOBIT_ALWAYS_INLINE { acc[i] = load<V>(slot + i * V::kWidth); });
    }
    const auto one = [&](auto u) ISOBIT_ALWAYS_INLINE {
      unroll<kLines>([&](auto line) ISOBIT_ALWAYS_INLINE {
        __builtin_prefetch(ahead + (u * kLines + line) * tile.pace, 0, 2);
      });
      step<V, W, R, N>(x + u * R, weights + u * kPanel, acc);
    };
    constexpr int kUnroll = 4;
    std::int64_t left = piece.end - piece.begin;
    for (; left >= kUnroll; left -= kUnroll) {
      unroll<kUnroll>(one);
      x += kUnroll * R;
      weights += kUnroll * kPanel;
      ahead += kUnroll * kLines * tile.pace;
    }
    for (; left > 0; --left) {
      one(std::integral_constant<int, 0>{});
      x += R;
      weights += kPanel;
    }
    if (piece.finished) {
      for (int f = 0; f < piece.folds; ++f) {
        slot -= kSlot;
        unroll<kSize>(
            [&](auto i) ISOBIT_ALWAYS_INLINE { acc[i] = load<V>(slot + i * V::kWidth) + acc[i]; });
      }
    }
    if (p + 1 == tile.count && tile.root) {
      store_sums<V, W::kPaired, R, N>(acc, tile.out, tile.out_stride, tile.outputs);
    } else {
      unroll<kSize>([&](auto i) ISOBIT_ALWAYS_INLINE { store<V>(slot + i * V::kWidth, acc[i]); });
    }
  }
}

/// R rows by a whole panel over all segments.
template <class V>
struct Strip {
  using T = typename V::T;
  const T* x;                  // (k, R)
  const void* weights;         // (k, 32)
  const std::int64_t* bounds;  // (segments + 1)
  int segments;
  T* level;  // (levels, R * N registers): the counter
  T* out;    // (R, stride), at the panel's first output
  std::int64_t out_stride;
  std::int64_t outputs;
};

/// Segments side by side for R rows. Eight chains hide the latency of fma, with some more to spare
/// where memory is not the limit.
template <class V, int R>
constexpr int segments_at_once() {
  constexpr int kChains = R * panel_registers<V>(), kEnough = R == 1 ? 8 : 12;
  int s = 1;
  while (s * kChains < kEnough && 2 * s * kChains <= V::kAccumulators) s *= 2;
  return s;
}

/// A finished segment joins the partial sums that wait for it.
template <class V, int kSize>
ISOBIT_ALWAYS_INLINE inline void count_segment(typename V::Reg* acc, int segment,
                                               typename V::T* level) {
  for (int f = segment; f & 1; f >>= 1, level += kSize * V::kWidth) {
    unroll<kSize>([&](auto i)
                      ISOBIT_ALWAYS_INLINE { acc[i] = load<V>(level + i * V::kWidth) + acc[i]; });
  }
  unroll<kSize>([&](auto i) ISOBIT_ALWAYS_INLINE { store<V>(level + i * V::kWidth, acc[i]); });
}

/// The sum of all segments goes out.
template <class V, bool kPaired, int R, int N>
ISOBIT_ALWAYS_INLINE inline void store_root(const typename V::T* level, int segments,
                                            typename V::T* out, std::int64_t stride,
                                            std::int64_t outputs) {
  constexpr int kSize = R * N;
  for (int m = segments; m > 1; m /= 2) level += kSize * V::kWidth;
  typename V::Reg sum[kSize];
  unroll<kSize>([&](auto i) ISOBIT_ALWAYS_INLINE { sum[i] = load<V>(level + i * V::kWidth); });
  store_sums<V, kPaired, R, N>(sum, out, stride, outputs);
}

/// S segments at once. REQUIRES: S divides the count of segments.
template <class V, Format kElement, int R, int S>
void run_strip(const Strip<V>& strip) {
  using Reg = typename V::Reg;
  using W = Weights<V, kElement>;
  constexpr int N = panel_registers<V>(), kSize = R * N;
  const auto* panel = static_cast<const typename W::Element*>(strip.weights);
  for (int first = 0; first < strip.segments; first += S) {
    const std::int64_t* bounds = strip.bounds + first;
    Reg acc[S * kSize];
    unroll<S * kSize>([&](auto i) ISOBIT_ALWAYS_INLINE { acc[i] = Reg{}; });
    std::int64_t common = bounds[1] - bounds[0];
    for (int s = 1; s < S; ++s) {
      const std::int64_t length = bounds[s + 1] - bounds[s];
      common = length < common ? length : common;
    }
    for (std::int64_t k = 0; k < common; ++k) {
      unroll<S>([&](auto s) ISOBIT_ALWAYS_INLINE {
        const typename W::Element* weights = panel + (bounds[s] + k) * kPanel;
        unroll<kPanel* int(sizeof(typename W::Element)) / 64>([&](auto line) ISOBIT_ALWAYS_INLINE {
          __builtin_prefetch(reinterpret_cast<const char*>(weights) + kPrefetchFar / S + line * 64,
                             0, 2);
        });
        step<V, W, R, N>(strip.x + (bounds[s] + k) * R, weights, acc + s * kSize);
      });
    }
    unroll<S>([&](auto s) ISOBIT_ALWAYS_INLINE {
      for (std::int64_t k = bounds[s] + common; k < bounds[s + 1]; ++k) {
        step<V, W, R, N>(strip.x + k * R, panel + k * kPanel, acc + s * kSize);
      }
      count_segment<V, kSize>(acc + s * kSize, first + s, strip.level);
    });
  }
  store_root<V, W::kPaired, R, N>(strip.level, strip.segments, strip.out, strip.out_stride,
                                  strip.outputs);
}

template <class V>
using TileFunction = void (*)(const Tile<V>&);
template <class V>
using StripFunction = void (*)(const Strip<V>&);

/// By rows - 1.
template <class V, Format kElement>
const TileFunction<V>* tile_functions() {
  static constexpr auto table = []<int... R>(std::integer_sequence<int, R...>) {
    struct Table {
      TileFunction<V> of[sizeof...(R)];
    };
    return Table{{run_tile<V, kElement, R + 1>...}};
  }
  (std::make_integer_sequence<int, V::kRows>{});
  return table.of;
}

template <class V, Format kElement>
StripFunction<V> strip_function(int rows, int segments) {
  StripFunction<V> found = nullptr;
  unroll<strip_rows<V>()>([&](auto index) ISOBIT_ALWAYS_INLINE {
    constexpr int R = index + 1, S = segments_at_once<V, R>();
    if (rows != R) return;
    found = segments % S == 0 ? run_strip<V, kElement, R, S> : run_strip<V, kElement, R, 1>;
  });
  return found;
}

/// Calls f with the element type as a constant: what tiles read without widening first.
template <class V, class F>
auto with_element(Format element, F&& f) {
  if constexpr (sizeof(typename V::T) == 8) {
    return f(std::integral_constant<Format, Format::f64>{});
  } else {
    switch (element) {
      case Format::bf16:
        return f(std::integral_constant<Format, Format::bf16>{});
      case Format::fp16:
        return f(std::integral_constant<Format, Format::fp16>{});
      default:
        return f(std::integral_constant<Format, Format::f32>{});
    }
  }
}

template <class V>
const TileFunction<V>* tile_functions(Format element) {
  return with_element<V>(element, [](auto e) { return tile_functions<V, e.value>(); });
}

template <class V>
StripFunction<V> strip_function(Format element, int rows, int segments) {
  return with_element<V>(element,
                         [&](auto e) { return strip_function<V, e.value>(rows, segments); });
}

}  // namespace isobit::cpu::simd
