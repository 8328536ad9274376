// Matrix product over panels of 32 outputs: the chains of many outputs side by side.
//
// A tile is up to V::kRows rows by V::kColumns registers of outputs. For few rows, several segments
// run side by side too, so that enough independent chains hide the latency of fma; each chain
// still takes its own k in ascending order from +0, and the finished segments join in the
// neighbour tree (a binary counter of partial sums: the earlier operand is on the left).
// Rows are copied once into tiles (k, rows). One tile runs through all segments of a panel. Several
// tiles go segment by segment over a group of panels, so that what they share stays in cache, and
// 16-bit weights are widened once for all of them. Callers: kernels_*.cc.
#pragma once

#include <cstdlib>

#include "runtime/backends/cpu/kernels_simd.h"

namespace invar::cpu::simd {

constexpr int kTreeLevels = 6;  // 32 segments
constexpr int kRowBlock = 192;  // rows that share one reading of the weights
constexpr std::int64_t kSmallPanelBytes = 256 << 10;
constexpr int kPanelGroup = 4;      // panels that share one reading of the rows
constexpr int kDirectRows = 8;      // up to so many rows 16-bit weights are widened in registers
constexpr int kPrefetchFar = 4096;  // elements ahead in the stream of weights: out of memory
constexpr int kPrefetchNear = 256;  // and into the first-level cache

/// Scratch of one thread, grown as needed, never read before it is written.
template <class V, int kUse>
class Scratch {
 public:
  static typename V::T* of(std::int64_t elements) {
    static thread_local Scratch scratch;
    if (elements > scratch.capacity_) scratch.grow(elements);
    return scratch.data_;
  }
  ~Scratch() { std::free(data_); }

 private:
  void grow(std::int64_t elements) {
    std::free(data_);
    const std::size_t bytes = (std::size_t(elements) * sizeof(typename V::T) + 63) / 64 * 64;
    data_ = static_cast<typename V::T*>(std::aligned_alloc(64, bytes));
    if (data_ == nullptr) std::abort();
    capacity_ = elements;
  }
  typename V::T* data_ = nullptr;
  std::int64_t capacity_ = 0;
};

/// Weight elements as registers of T.
template <class V, Format kElement>
struct Weights;
template <class V>
struct Weights<V, Format::f32> {
  using Element = float;
  static typename V::Reg load(const float* p) { return V::load_f32(p); }
};
template <class V>
struct Weights<V, Format::f64> {
  using Element = double;
  static typename V::Reg load(const double* p) { return simd::load<V>(p); }
};
template <class V>
struct Weights<V, Format::bf16> {
  using Element = std::uint16_t;
  static typename V::Reg load(const std::uint16_t* p) { return V::load_bf16(p); }
};
template <class V>
struct Weights<V, Format::fp16> {
  using Element = std::uint16_t;
  static typename V::Reg load(const std::uint16_t* p) { return V::load_fp16(p); }
};

/// Rows and outputs of one tile, and the segments [first, first + count) that it does now.
template <class V>
struct Tile {
  using T = typename V::T;
  const T* x;         // (k, rows)
  const void* panel;  // (columns from panel_k on, 32)
  std::int64_t panel_k;
  const std::int64_t* bounds;  // (segments + 1)
  int segments, first, count;
  T* level;  // partial sums between calls: level_elements<V>(rows)
  T* out;    // (rows, stride), at the panel's first output
  std::int64_t out_stride;
  std::int64_t outputs;  // valid outputs of the panel
};

/// Room for a tile's binary counter.
template <class V>
constexpr std::int64_t level_elements(std::int64_t rows) {
  return kTreeLevels * rows * kPanel;
}

/// Adds the finished segment `s` to the counter. `level` is (levels, accumulators).
template <class V, int kCount>
INVAR_ALWAYS_INLINE inline void push_segment(int s, typename V::Reg* acc, typename V::T* level) {
  for (; s & 1; s >>= 1, level += kCount * V::kWidth) {
    unroll<kCount>([&](auto i)
                       INVAR_ALWAYS_INLINE { acc[i] = load<V>(level + i * V::kWidth) + acc[i]; });
  }
  unroll<kCount>([&](auto i) INVAR_ALWAYS_INLINE { store<V>(level + i * V::kWidth, acc[i]); });
}

/// Writes the root of a full counter.
template <class V, int R>
void store_tile(const Tile<V>& tile, int column, const typename V::T* level) {
  constexpr int N = V::kColumns;
  for (int m = tile.segments; m > 1; m /= 2) level += R * N * V::kWidth;
  for (int i = 0; i < R * N; ++i) {
    const std::int64_t at = column + (i % N) * V::kWidth;
    if (at >= tile.outputs) continue;
    store<V>(tile.out + (i / N) * tile.out_stride + at,
             canonical<V>(load<V>(level + i * V::kWidth)), tile.outputs - at);
  }
}

/// One tile of R rows; S segments side by side. REQUIRES: S divides the count of segments.
template <class V, Format kElement, int R, int S>
void run_tile(const Tile<V>& tile) {
  using Reg = typename V::Reg;
  using W = Weights<V, kElement>;
  constexpr int N = V::kColumns;
  typename V::T* level = tile.level;
  for (int column = 0; column < kPanel && column < tile.outputs; column += N * V::kWidth) {
    const auto* panel = static_cast<const typename W::Element*>(tile.panel) + column;
    for (int first = tile.first; first < tile.first + tile.count; first += S) {
      const std::int64_t* bounds = tile.bounds + first;
      Reg acc[S][R * N] = {};
      const auto step = [&](auto s, std::int64_t k) INVAR_ALWAYS_INLINE {
        const typename W::Element* weights = panel + (k - tile.panel_k) * kPanel;
        constexpr int kLine = 64 / int(sizeof(typename W::Element));
        unroll<(N * V::kWidth + kLine - 1) / kLine>([&](auto line) INVAR_ALWAYS_INLINE {
          __builtin_prefetch(weights + kPrefetchFar / S + line * kLine, 0, 2);
          if (R > 6) __builtin_prefetch(weights + kPrefetchNear + line * kLine, 0, 3);
        });
        Reg w[N];
        unroll<N>([&](auto n) INVAR_ALWAYS_INLINE { w[n] = W::load(weights + n * V::kWidth); });
        unroll<R>([&](auto r) INVAR_ALWAYS_INLINE {
          const Reg x = V::set1(tile.x[k * R + r]);
          unroll<N>([&](auto n) INVAR_ALWAYS_INLINE {
            acc[s][r * N + n] = V::fma(x, w[n], acc[s][r * N + n]);
          });
        });
      };
      std::int64_t common = bounds[1] - bounds[0];
      for (int s = 1; s < S; ++s) {
        const std::int64_t length = bounds[s + 1] - bounds[s];
        common = length < common ? length : common;
      }
      for (std::int64_t k = 0; k < common; ++k) {
        unroll<S>([&](auto s) INVAR_ALWAYS_INLINE { step(s, bounds[s] + k); });
      }
      unroll<S>([&](auto s) INVAR_ALWAYS_INLINE {
        for (std::int64_t k = bounds[s] + common; k < bounds[s + 1]; ++k) step(s, k);
        push_segment<V, R * N>(first + s, acc[s], level);
      });
    }
    if (tile.first + tile.count == tile.segments) store_tile<V, R>(tile, column, level);
    level += kTreeLevels * R * N * V::kWidth;
  }
}

/// The element type that needs no widening.
template <class V>
constexpr Format own_element() {
  return sizeof(typename V::T) == 8 ? Format::f64 : Format::f32;
}

/// Segments side by side for R rows: as many chains as there are accumulators.
template <class V, int R>
constexpr int segments_at_once() {
  int s = 1;
  while (2 * s * R * V::kColumns <= V::kAccumulators && s < 8) s *= 2;
  return s;
}

template <class V>
using TileFunction = void (*)(const Tile<V>&);

/// The tile function for a number of rows, by template index.
template <class V, Format kElement>
TileFunction<V> tile_function(int rows, int segments) {
  TileFunction<V> found = nullptr;
  constexpr bool kOwn = kElement == own_element<V>();
  constexpr int kMost = !kOwn && V::kRows > kDirectRows ? kDirectRows : V::kRows;
  unroll<kMost>([&](auto index) INVAR_ALWAYS_INLINE {
    constexpr int R = index + 1;
    constexpr int S = segments_at_once<V, R>();
    if (rows == R) {
      found = segments % S == 0 ? run_tile<V, kElement, R, S> : run_tile<V, kElement, R, 1>;
    }
  });
  return found;
}

template <class V>
TileFunction<V> tile_function(Format element, int rows, int segments) {
  if constexpr (sizeof(typename V::T) == 8) {
    return tile_function<V, Format::f64>(rows, segments);
  } else {
    switch (element) {
      case Format::bf16:
        return tile_function<V, Format::bf16>(rows, segments);
      case Format::fp16:
        return tile_function<V, Format::fp16>(rows, segments);
      default:
        return tile_function<V, Format::f32>(rows, segments);
    }
  }
}

inline constexpr std::size_t bytes_of(Format element) {
  return element == Format::f64 ? 8 : element == Format::f32 ? 4 : 2;
}

template <class V, Format kElement>
void widen(const void* panel, std::int64_t elements, typename V::T* out) {
  using W = Weights<V, kElement>;
  const auto* in = static_cast<const typename W::Element*>(panel);
  for (std::int64_t i = 0; i < elements; i += V::kWidth) store<V>(out + i, W::load(in + i));
}

/// The panel's elements as T: itself, or a widened copy in `scratch`.
template <class V>
const void* widened(Format element, const void* panel, std::int64_t elements,
                    typename V::T* scratch) {
  switch (element) {
    case Format::bf16:
      widen<V, Format::bf16>(panel, elements, scratch);
      return scratch;
    case Format::fp16:
      widen<V, Format::fp16>(panel, elements, scratch);
      return scratch;
    case Format::f32:
      if constexpr (sizeof(typename V::T) == 4) return panel;
      widen<V, Format::f32>(panel, elements, scratch);
      return scratch;
    default:
      return panel;
  }
}

/// Transposes kWidth registers: the perfect shuffle of two halves, log2(width) times.
template <class V>
INVAR_ALWAYS_INLINE inline void transpose(typename V::Reg* r) {
  using Reg = typename V::Reg;
  constexpr int W = V::kWidth;
  for (int step = 1; step < W; step *= 2) {
    Reg t[W];
    unroll<W / 2>([&](auto i) INVAR_ALWAYS_INLINE {
      t[2 * i] = V::interleave_low(r[i], r[i + W / 2]);
      t[2 * i + 1] = V::interleave_high(r[i], r[i + W / 2]);
    });
    unroll<W>([&](auto i) INVAR_ALWAYS_INLINE { r[i] = t[i]; });
  }
}

/// Rows [begin, begin + rows) as tiles (k, rows of the tile), one after the other. Writes a
/// register past the end of a tile, over which the next tile is written.
template <class V>
void copy_rows(const GemmArgs<typename V::T>& args, std::int64_t begin, const int* tile_rows,
               int tiles, typename V::T* out) {
  const std::int64_t k_count = args.w->k;
  constexpr int W = V::kWidth;
  for (int t = 0; t < tiles; ++t) {
    const typename V::T* x = args.x + begin * args.x_stride;
    const int rows = tile_rows[t];
    for (std::int64_t k = 0; k < k_count; k += W) {
      const std::int64_t lanes = k_count - k < W ? k_count - k : W;
      for (int first = 0; first < rows; first += W) {
        typename V::Reg block[W] = {};
        const int count = rows - first < W ? rows - first : W;
        for (int r = 0; r < count; ++r)
          block[r] = load<V>(x + (first + r) * args.x_stride + k, lanes);
        transpose<V>(block);
        for (int i = 0; i < lanes; ++i)
          store<V>(out + (k + i) * rows + first, block[i], rows > W ? count : W);
      }
    }
    begin += rows;
    out += k_count * rows;
  }
}

/// Widened weights of columns [begin, end) of a panel, in `scratch` when they are not T already.
template <class V>
const void* panel_columns(const PackedMatrix& w, std::int64_t panel, std::int64_t begin,
                          std::int64_t end, bool widen_first, typename V::T* scratch) {
  const std::int64_t at = (panel * w.k + begin) * kPanel;
  const void* raw = static_cast<const char*>(w.data.get()) + std::size_t(at) * bytes_of(w.element);
  return widen_first ? widened<V>(w.element, raw, (end - begin) * kPanel, scratch) : raw;
}

/// One block of at most kRowBlock rows over all panels of the share.
template <class V>
void gemm_rows(const GemmArgs<typename V::T>& args, std::int64_t begin, std::int64_t rows) {
  using T = typename V::T;
  const PackedMatrix& w = *args.w;
  const std::int64_t* bounds = w.bounds.data();
  const int segments = int(w.segments());
  const int tiles = int((rows + V::kRows - 1) / V::kRows);
  const bool small = w.k * kPanel * std::int64_t(sizeof(T)) <= kSmallPanelBytes;
  const int together = tiles == 1 || small ? segments : 1;  // segments of one pass over a panel
  const bool widen_first = rows > kDirectRows || tiles > 1 || sizeof(T) == 8;
  const Format element = widen_first ? own_element<V>() : w.element;
  int tile_rows[kRowBlock];
  TileFunction<V> function[kRowBlock];
  for (int t = 0; t < tiles; ++t) {
    tile_rows[t] = int(rows * (t + 1) / tiles - rows * t / tiles);
    function[t] = tile_function<V>(element, tile_rows[t], together);
  }
  T* packed = Scratch<V, 0>::of(w.k * rows + V::kWidth);
  copy_rows<V>(args, begin, tile_rows, tiles, packed);
  std::int64_t columns_at_once = 0;
  for (int s = 0; s < segments; s += together) {
    const std::int64_t count = bounds[s + together] - bounds[s];
    columns_at_once = count > columns_at_once ? count : columns_at_once;
  }
  const std::int64_t chunk = columns_at_once * kPanel;  // room of a widened panel
  T* scratch = widen_first ? Scratch<V, 1>::of(kPanelGroup * chunk) : nullptr;
  T* levels = Scratch<V, 2>::of(kPanelGroup * level_elements<V>(rows));

  const std::int64_t last = args.panel_end < w.panels() ? args.panel_end : w.panels();
  for (std::int64_t group = args.panel_begin; group < last; group += kPanelGroup) {
    const int panels = int(group + kPanelGroup < last ? kPanelGroup : last - group);
    for (int s = 0; s < segments; s += together) {
      const void* columns[kPanelGroup];
      for (int p = 0; p < panels; ++p) {
        T* room = widen_first ? scratch + p * chunk : nullptr;
        columns[p] =
            panel_columns<V>(w, group + p, bounds[s], bounds[s + together], widen_first, room);
      }
      Tile<V> tile{packed,   nullptr, bounds[s], bounds,          segments, s,
                   together, levels,  nullptr,   args.out_stride, 0};
      T* out = args.out + begin * args.out_stride + group * kPanel;
      for (int t = 0; t < tiles; ++t) {
        for (int p = 0; p < panels; ++p) {
          const std::int64_t left = w.n - (group + p) * kPanel;
          tile.panel = columns[p];
          tile.out = out + p * kPanel;
          tile.outputs = left < kPanel ? left : kPanel;
          function[t](tile);
          if (together < segments) tile.level += level_elements<V>(tile_rows[t]);
        }
        tile.x += w.k * tile_rows[t];
        out += tile_rows[t] * args.out_stride;
      }
    }
  }
}

/// A rank that owns no segment gives zeros.
template <class V>
void gemm_of_nothing(const GemmArgs<typename V::T>& args) {
  const std::int64_t from = args.panel_begin * kPanel;
  const std::int64_t to = args.panel_end * kPanel < args.w->n ? args.panel_end * kPanel : args.w->n;
  for (std::int64_t r = args.row_begin; r < args.row_end; ++r) {
    for (std::int64_t n = from; n < to; ++n) args.out[r * args.out_stride + n] = 0;
  }
}

template <class V>
void gemm(const GemmArgs<typename V::T>& args) {
  if (args.w->segments() == 0) return gemm_of_nothing<V>(args);
  for (std::int64_t row = args.row_begin; row < args.row_end; row += kRowBlock) {
    const std::int64_t left = args.row_end - row;
    gemm_rows<V>(args, row, left < kRowBlock ? left : kRowBlock);
  }
}

}  // namespace invar::cpu::simd
