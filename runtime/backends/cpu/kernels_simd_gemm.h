// Matrix product over panels of 32 outputs: the chains of many outputs side by side.
//
// A tile is up to V::kRows rows by V::kColumns registers of outputs. For one row, several segments
// run side by side too, so that enough independent chains hide the latency of fma; each chain
// still takes its own k in ascending order from +0, and the finished segments join in the
// neighbour tree (a binary counter of partial sums: the earlier operand is on the left).
// Rows are copied once into tiles [k][rows]; 16-bit weights are widened once a panel when more
// than one tile of rows uses them, else in registers. Callers: kernels_*.cc.
#pragma once

#include <cstdlib>

#include "runtime/backends/cpu/kernels_simd.h"

namespace invar::cpu::simd {

constexpr int kTreeLevels = 6;                      // 32 segments
constexpr std::int64_t kRowBlockBytes = 512 << 10;  // packed rows kept in the second-level cache

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

/// Rows and outputs of one tile.
template <class V>
struct Tile {
  using T = typename V::T;
  const T* x;                  // (k, rows)
  const void* panel;           // (k, 32)
  const std::int64_t* bounds;  // (segments + 1)
  int segments;
  T* out;  // (rows, stride), at the panel's first output
  std::int64_t out_stride;
  std::int64_t outputs;  // valid outputs of the panel
};

/// One tile of R rows; S segments side by side. REQUIRES: S divides the number of segments.
template <class V, Format kElement, int R, int S>
void run_tile(const Tile<V>& tile) {
  using Reg = typename V::Reg;
  using W = Weights<V, kElement>;
  constexpr int N = V::kColumns;
  const auto* panel = static_cast<const typename W::Element*>(tile.panel);
  for (int column = 0; column < kPanel; column += N * V::kWidth) {
    if (column >= tile.outputs) break;
    Reg level[kTreeLevels][R * N];
    for (int first = 0; first < tile.segments; first += S) {
      const std::int64_t* bounds = tile.bounds + first;
      Reg acc[S][R * N] = {};
      const auto step = [&](auto s, std::int64_t k) INVAR_ALWAYS_INLINE {
        Reg w[N];
        unroll<N>([&](auto n) INVAR_ALWAYS_INLINE {
          w[n] = W::load(panel + k * kPanel + column + n * V::kWidth);
        });
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
        int at = 0;
        for (; ((first + s) >> at) & 1; ++at) {
          for (int i = 0; i < R * N; ++i) acc[s][i] = level[at][i] + acc[s][i];
        }
        for (int i = 0; i < R * N; ++i) level[at][i] = acc[s][i];
      });
    }
    int top = 0;
    while ((1 << top) < tile.segments) ++top;
    for (int i = 0; i < R * N; ++i) {
      const std::int64_t at = column + (i % N) * V::kWidth;
      const Reg sum = tile.segments > 0 ? canonical<V>(level[top][i]) : Reg{};
      if (at < tile.outputs) {
        store<V>(tile.out + (i / N) * tile.out_stride + at, sum, tile.outputs - at);
      }
    }
  }
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
  unroll<V::kRows>([&](auto index) INVAR_ALWAYS_INLINE {
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

template <class V>
constexpr Format own_element() {
  return sizeof(typename V::T) == 8 ? Format::f64 : Format::f32;
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

/// Rows [begin, begin + rows) as tiles (k, rows of the tile), one after the other.
template <class V>
void copy_rows(const GemmArgs<typename V::T>& args, std::int64_t begin, const int* tile_rows,
               int tiles, typename V::T* out) {
  const std::int64_t k_count = args.w->k;
  for (int t = 0; t < tiles; ++t) {
    for (int r = 0; r < tile_rows[t]; ++r) {
      const typename V::T* x = args.x + (begin + r) * args.x_stride;
      for (std::int64_t k = 0; k < k_count; ++k) out[k * tile_rows[t] + r] = x[k];
    }
    begin += tile_rows[t];
    out += k_count * tile_rows[t];
  }
}

/// One block of rows over all panels of the share.
template <class V>
void gemm_rows(const GemmArgs<typename V::T>& args, std::int64_t begin, std::int64_t rows) {
  using T = typename V::T;
  const PackedMatrix& w = *args.w;
  constexpr int kMaxTiles = 128;
  const int tiles = int((rows + V::kRows - 1) / V::kRows);
  int tile_rows[kMaxTiles];
  for (int t = 0; t < tiles; ++t) tile_rows[t] = int(rows * (t + 1) / tiles - rows * t / tiles);
  T* packed = Scratch<V, 0>::of(w.k * rows + 1);
  copy_rows<V>(args, begin, tile_rows, tiles, packed);

  const std::int64_t elements = w.k * kPanel;
  const std::int64_t* bounds = w.bounds.data();
  const int segments = bounds == nullptr ? 0 : w.segments();
  const bool widen_first = sizeof(T) == 8 ? w.element != Format::f64 : tiles > 1;
  T* scratch = widen_first ? Scratch<V, 1>::of(elements + 1) : nullptr;
  for (std::int64_t p = args.panel_begin; p < args.panel_end && p * kPanel < w.n; ++p) {
    const void* panel =
        static_cast<const char*>(w.data.get()) + std::size_t(p * elements) * bytes_of(w.element);
    Format element = w.element;
    if (widen_first) {
      panel = widened<V>(element, panel, elements, scratch);
      element = own_element<V>();
    }
    Tile<V> tile{packed, panel, bounds, segments, nullptr, args.out_stride, w.n - p * kPanel};
    tile.outputs = tile.outputs > kPanel ? kPanel : tile.outputs;
    std::int64_t row = begin;
    for (int t = 0; t < tiles; ++t) {
      tile.out = args.out + row * args.out_stride + p * kPanel;
      tile_function<V>(element, tile_rows[t], segments)(tile);
      tile.x += w.k * tile_rows[t];
      row += tile_rows[t];
    }
  }
}

template <class V>
void gemm(const GemmArgs<typename V::T>& args) {
  const std::int64_t row_bytes = args.w->k * std::int64_t(sizeof(typename V::T)) + 1;
  std::int64_t block = kRowBlockBytes / row_bytes / V::kRows * V::kRows;
  block = block < V::kRows ? V::kRows : block > 16 * V::kRows ? 16 * V::kRows : block;
  for (std::int64_t row = args.row_begin; row < args.row_end; row += block) {
    const std::int64_t left = args.row_end - row;
    gemm_rows<V>(args, row, left < block ? left : block);
  }
}

}  // namespace invar::cpu::simd
