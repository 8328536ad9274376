// Matrix product over panels of 32 outputs: how the work is cut so that caches and memory keep up.
//
// Few rows: strips, panel after panel, every weight read once and in order. More rows: the
// reduction is cut in blocks (whole segments, or equal parts of a long one) such that a group's
// weights and a tile's rows fit the first-level cache; a panel's block is used by all rows before
// the next, so that memory is still read in order, one block ahead. 16-bit weights are widened in
// registers, or once a block when many tiles use them; so are the checkpoint's own blocks. None of
// this changes a chain: see kernels/simd_tile.h. Callers: kernels_*.cc.
#pragma once

#include "runtime/backends/cpu/kernels/simd_blocks.h"
#include "runtime/backends/cpu/kernels/simd_streams.h"

namespace isobit::cpu::simd {

constexpr int kRowBlock = 132;     // rows that share one reading of the weights: their x and their
                                   // partial sums stay in the second-level cache
constexpr int kMaxPieces = 32;     // of one block
constexpr int kBlockBytes = 1152;  // of one x row or one output in a block, many tiles
constexpr int kDirectTiles = 2;    // up to so many tiles weights are widened in registers

/// Are a block's weights widened into scratch before the tiles read them?
template <class V>
bool widens_first(const PackedMatrix& w, int tiles) {
  if (w.blocks != BlockFormat::none) return true;
  return w.element != own_element<V>() && (tiles > kDirectTiles || sizeof(typename V::T) == 8);
}

/// Walks the reduction in blocks.
template <class V>
class Blocks {
 public:
  Blocks(const PackedMatrix& w, int tiles)
      : bounds_(w.bounds.data()),
        segments_(w.segments()),
        most_((tiles > 3 ? kBlockBytes : kBlockBytes / 4) / read_bytes(w, tiles)) {}

  /// The next block's pieces; false at the end.
  bool next() {
    count_ = 0;
    std::int64_t used = 0;
    while (segment_ < segments_ && count_ < kMaxPieces) {
      const std::int64_t length = bounds_[segment_ + 1] - bounds_[segment_];
      const std::int64_t room = count_ == 0 ? most_ + most_ / 4 : most_ - used;
      if (done_ == 0 && length <= room) {
        take(length);
        used += length;
        continue;
      }
      if (count_ > 0) break;
      const std::int64_t left = length - done_, parts = (left + most_ - 1) / most_;
      const std::int64_t part = ((left + parts - 1) / parts + 3) / 4 * 4;
      take(part < left ? part : left);
      break;
    }
    return count_ > 0;
  }
  [[nodiscard]] const Piece* pieces() const { return piece_; }
  [[nodiscard]] int count() const { return count_; }
  [[nodiscard]] std::int64_t begin() const { return piece_[0].begin; }
  [[nodiscard]] std::int64_t size() const { return piece_[count_ - 1].end - piece_[0].begin; }
  [[nodiscard]] bool last() const { return segment_ == segments_; }
  [[nodiscard]] std::int64_t most_columns() const { return most_ + most_ / 4 + 4; }

 private:
  /// Bytes of an element as tiles read it.
  static std::int64_t read_bytes(const PackedMatrix& w, int tiles) {
    return std::int64_t(widens_first<V>(w, tiles) ? sizeof(typename V::T) : bytes_of(w.element));
  }
  void take(std::int64_t columns) {
    const std::int64_t begin = bounds_[segment_] + done_;
    const bool fresh = done_ == 0, finished = begin + columns == bounds_[segment_ + 1];
    int depth = 0, folds = 0;
    for (int s = segment_; s != 0; s >>= 1) depth += s & 1;
    for (int s = segment_; s & 1; s >>= 1) ++folds;
    piece_[count_++] = {begin, begin + columns, depth, folds, fresh, finished};
    done_ = finished ? 0 : done_ + columns;
    segment_ += finished ? 1 : 0;
  }

  const std::int64_t* bounds_;
  int segments_;
  std::int64_t most_;
  int segment_ = 0;
  std::int64_t done_ = 0;  // columns of the segment
  Piece piece_[kMaxPieces] = {};
  int count_ = 0;
};

/// A block of rows cut in tiles of nearly equal size, their x as (block, tile, column, row). Where
/// equal tiles would have too few sums to hide the latency of fma, the last one is a strip's size.
template <class V>
struct RowTiles {
  std::int64_t rows = 0, equal = 0;  // rows of the equal tiles
  int tiles = 0;
  typename V::T* x = nullptr;

  RowTiles(const GemmArgs<typename V::T>& args, std::int64_t begin, std::int64_t count)
      : rows(count), equal(count), tiles(int((count + V::kRows - 1) / V::kRows)) {
    constexpr int kStrip = strip_rows<V>();
    const std::int64_t least = count / tiles;
    const bool few = least > kStrip && least * V::kColumns < 10;
    if (few && count - kStrip <= (tiles - 1) * V::kRows) equal = count - kStrip;
    x = Scratch<V, 0>::of(args.w->k * rows + V::kWidth);
    Blocks<V> block(*args.w, tiles);
    while (block.next()) {
      for (int t = 0; t < tiles; ++t) {
        transpose_rows<V>(args.x + (begin + first(t)) * args.x_stride + block.begin(),
                          args.x_stride, size(t), block.size(),
                          x + block.begin() * rows + first(t) * block.size());
      }
    }
  }
  [[nodiscard]] std::int64_t first(int t) const {
    const int among = tiles - (equal < rows ? 1 : 0);
    return t > among ? rows : equal * t / among;
  }
  [[nodiscard]] int size(int t) const { return int(first(t + 1) - first(t)); }
};

/// One panel's block of columns over all tiles.
template <class V>
void run_block(const GemmArgs<typename V::T>& args, const RowTiles<V>& rows, const Blocks<V>& block,
               std::int64_t panel, const void* weights, Format element, typename V::T* levels,
               typename V::T* out) {
  constexpr std::int64_t kGroup = V::kColumns * V::kWidth;
  const TileFunction<V>* function = tile_functions<V>(element);
  const std::int64_t left = args.w->n - panel * kPanel;
  // The next block's weights are asked for evenly while this one is used: memory delivers them no
  // faster, and a processor whose misses are all taken drops what it is asked for.
  constexpr int kTimes = kPanel * int(sizeof(typename V::T)) / 64;  // prefetches of a tile's column
  const std::int64_t times = std::int64_t(kTimes) * rows.tiles;
  const std::int64_t pace = (column_bytes<V>(*args.w) + times - 1) / times;
  const char* ahead = panel_columns<V>(*args.w, panel, block.begin() + block.size());
  for (std::int64_t column = 0; column < kPanel && column < left; column += kGroup) {
    Tile<V> tile{};
    tile.weights = static_cast<const char*>(weights) + std::size_t(column) * bytes_of(element);
    tile.pace = pace;
    tile.pieces = block.pieces();
    tile.count = block.count();
    tile.root = block.last();
    tile.out_stride = args.out_stride;
    tile.outputs = left - column;
    for (int t = 0; t < rows.tiles; ++t) {
      const std::int64_t first = rows.first(t);
      const int size = rows.size(t);
      const bool whole = size <= strip_rows<V>();  // takes the whole panel at once
      if (column > 0 && whole) continue;
      tile.x = rows.x + block.begin() * rows.rows + first * block.size();
      tile.level = levels + kTreeLevels * (first * kPanel + column * size);
      tile.out = out + first * args.out_stride + panel * kPanel + column;
      tile.ahead = ahead;
      function[size - 1](tile);
      ahead += block.size() * pace * (whole ? kTimes : kTimes * kGroup / kPanel);
    }
  }
}

/// Columns of a panel as (count, 32) of T.
template <class V>
void widen_columns(const PackedMatrix& w, std::int64_t panel, std::int64_t begin,
                   std::int64_t count, typename V::T* out) {
  if constexpr (sizeof(typename V::T) == 4) {
    if (w.blocks != BlockFormat::none) {
      return widen_blocks_function<V>(w)(panel_columns<V>(w, panel, -w.skip), w.skip, begin, count,
                                         out);
    }
  }
  widen<V>(w.element, panel_columns<V>(w, panel, begin), count * kPanel, out);
}

/// At most kRowBlock rows over all panels of the share, in blocks.
template <class V>
void gemm_tiles(const GemmArgs<typename V::T>& args, std::int64_t begin, std::int64_t count) {
  using T = typename V::T;
  const PackedMatrix& w = *args.w;
  const RowTiles<V> rows(args, begin, count);
  const bool widen_first = widens_first<V>(w, rows.tiles);
  const std::int64_t room = Blocks<V>(w, rows.tiles).most_columns() * kPanel;
  T* scratch = widen_first ? Scratch<V, 1>::of(room) : nullptr;
  T* levels = Scratch<V, 2>::of(kTreeLevels * count * kPanel);
  T* out = args.out + begin * args.out_stride;
  const std::int64_t last = args.panel_end < w.panels() ? args.panel_end : w.panels();
  for (std::int64_t panel = args.panel_begin; panel < last; ++panel) {
    Blocks<V> block(w, rows.tiles);
    while (block.next()) {
      const void* weights = panel_columns<V>(w, panel, block.begin());
      if (widen_first) {
        widen_columns<V>(w, panel, block.begin(), block.size(), scratch);
        weights = scratch;
      }
      run_block<V>(args, rows, block, panel, weights, widen_first ? own_element<V>() : w.element,
                   levels, out);
    }
  }
}

/// Few rows: strips.
template <class V>
void gemm_strips(const GemmArgs<typename V::T>& args) {
  const PackedMatrix& w = *args.w;
  const int rows = int(args.row_end - args.row_begin);
  const auto* x = args.x + args.row_begin * args.x_stride;
  if (rows > 1) {
    auto* turned = Scratch<V, 0>::of(w.k * rows + V::kWidth);
    transpose_rows<V>(x, args.x_stride, rows, w.k, turned);
    x = turned;
  }
  const std::int64_t last = args.panel_end < w.panels() ? args.panel_end : w.panels();
  std::int64_t panel = args.panel_begin;
  const bool blocks = w.blocks != BlockFormat::none;
  if (rows == 1 && !blocks) panel = gemm_streams<V>(args, panel, last);
  auto* level = Scratch<V, 2>::of(kTreeLevels * rows * kPanel);
  const auto run = [&](std::int64_t first_column, auto&& function) {
    for (; panel < last; ++panel) {
      function(Strip<V>{x, panel_columns<V>(w, panel, first_column), w.bounds.data(), w.segments(),
                        level, args.out + args.row_begin * args.out_stride + panel * kPanel,
                        args.out_stride, w.n - panel * kPanel});
    }
  };
  if constexpr (sizeof(typename V::T) == 4) {
    if (blocks) {
      const BlockStripFunction<V> function = block_strip_function<V>(w, rows);
      return run(-w.skip, [&](const Strip<V>& strip) { function(strip, w.skip); });
    }
  }
  run(0, strip_function<V>(w.element, rows, w.segments()));
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
  const std::int64_t rows = args.row_end - args.row_begin;
  const bool direct = args.w->blocks != BlockFormat::none
                          ? decodes_in_strips(args.w->blocks, args.w->rounded)
                          : sizeof(typename V::T) == 4 || args.w->element == Format::f64;
  if (direct && rows <= strip_rows<V>()) return gemm_strips<V>(args);
  const std::int64_t blocks = (rows + kRowBlock - 1) / kRowBlock;
  for (std::int64_t b = 0; b < blocks; ++b) {
    const auto cut = [&](std::int64_t i) {  // at whole tiles
      return i == blocks ? rows : rows * i / blocks / V::kRows * V::kRows;
    };
    gemm_tiles<V>(args, args.row_begin + cut(b), cut(b + 1) - cut(b));
  }
}

}  // namespace isobit::cpu::simd
