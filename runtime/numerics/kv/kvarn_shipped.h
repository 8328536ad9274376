// KVarN as its vLLM backend computes it: rotations by an fp16 matrix, tiles balanced by one-pass
// variances in fp32, codes from unrounded ranges, scales kept as fp16. NUMERICS.md, "kvarn, as
// shipped".
#pragma once

#include <algorithm>
#include <bit>
#include <span>
#include <vector>

#include "runtime/numerics/functions.h"
#include "runtime/numerics/kv/quanto.h"

namespace isobit::kvarn_shipped {

/// x times the Hadamard matrix of d channels, whose elements are plus or minus `element`: a chain
/// over ascending channels from +0, then fp16. REQUIRES: d is a power of two.
inline void rotate(std::span<const float> x, float element, std::span<float> out) {
  for (std::size_t i = 0; i < x.size(); ++i) {
    float sum = 0.0f;
    for (std::size_t j = 0; j < x.size(); ++j) {
      sum = fma_(x[j], std::popcount(i & j) % 2 == 0 ? element : -element, sum);
    }
    out[i] = round_to(Format::fp16, sum);
  }
}
/// 1 / sqrt(d): as fp32, and as the fp16 number that the backend multiplies by.
inline float exact_element(std::int64_t d) {
  return float(1.0 / sqrt_(double(d)));
}
inline float fp16_element(std::int64_t d) {
  return round_to(Format::fp16, exact_element(d));
}

/// A tile (rows, columns) and the scales by which it is divided, columns first.
struct Balanced {
  std::int64_t rows = 0, columns = 0;
  std::vector<float> x, row_scale, column_scale;
};

namespace detail {

constexpr float kLeastDeviation = 0x1.0624dep-10f, kMostDeviation = 1000.0f;  // 1e-3
constexpr float kLeastLog = -0x1.333334p-2f, kMostLog = 10.0f;                // -0.3
constexpr float kLeastRatio = 0x1.5798eep-27f;                                // 1e-8

/// Unbiased deviation of n values by one pass: sums of x and of x * x, ascending from +0.
template <class At>
inline float deviation(std::int64_t n, const At& at) {
  float sum = 0.0f, squares = 0.0f;
  for (std::int64_t i = 0; i < n; ++i) {
    const float x = at(i), square = x * x;
    sum = sum + x;
    squares = squares + square;
  }
  const float mean = sum / float(n), square = mean * mean;
  const float variance = ((squares / float(n) - square) * float(n)) / float(n - 1);
  return sqrt_(variance > 0.0f ? variance : 0.0f);
}

/// Deviations of a tile's columns, or of its rows.
inline std::vector<float> deviations(const std::vector<float>& x, std::int64_t rows,
                                     std::int64_t columns, bool of_columns) {
  std::vector<float> out;
  for (std::int64_t i = 0; i < (of_columns ? columns : rows); ++i) {
    const std::int64_t first = of_columns ? i : i * columns, step = of_columns ? columns : 1;
    out.push_back(deviation(of_columns ? rows : columns,
                            [&](std::int64_t j) { return x[std::size_t(first + j * step)]; }));
  }
  return out;
}

inline float spread(const std::vector<float>& deviations) {
  const auto [least, most] = std::minmax_element(deviations.begin(), deviations.end());
  return *most / (*least > kLeastRatio ? *least : kLeastRatio);
}
inline float imbalance(const Balanced& tile) {
  return spread(deviations(tile.x, tile.rows, tile.columns, true)) +
         spread(deviations(tile.x, tile.rows, tile.columns, false));
}

/// log_scale += ln(deviation), both cut; scale = exp of it.
inline void grow(const std::vector<float>& deviations, std::vector<float>& log_scale,
                 std::vector<float>& scale) {
  for (std::size_t i = 0; i < scale.size(); ++i) {
    const float cut = std::clamp(deviations[i], kLeastDeviation, kMostDeviation);
    log_scale[i] = std::clamp(log_scale[i] + float(log_(double(cut))), kLeastLog, kMostLog);
    scale[i] = exp_(log_scale[i]);
  }
}

inline void divide(const std::vector<float>& from, Balanced& tile) {
  for (std::int64_t r = 0; r < tile.rows; ++r) {
    for (std::int64_t c = 0; c < tile.columns; ++c) {
      const auto at = std::size_t(r * tile.columns + c);
      tile.x[at] = (from[at] / tile.column_scale[std::size_t(c)]) / tile.row_scale[std::size_t(r)];
    }
  }
}

}  // namespace detail

/// The tile with its deviations evened out: `iterations` times columns, then rows; the scales with
/// the least imbalance stay, the newer among equals.
inline Balanced balance(const std::vector<float>& x, std::int64_t rows, std::int64_t columns,
                        int iterations) {
  const auto ones = [](std::int64_t n) { return std::vector<float>(std::size_t(n), 1.0f); };
  Balanced tile{rows, columns, x, ones(rows), ones(columns)};
  Balanced best = tile;
  std::vector<float> row_log(std::size_t(rows), 0.0f), column_log(std::size_t(columns), 0.0f);
  float least = detail::imbalance(tile);
  for (int i = 0; i < iterations; ++i) {
    detail::grow(detail::deviations(tile.x, rows, columns, true), column_log, tile.column_scale);
    detail::divide(x, tile);
    detail::grow(detail::deviations(tile.x, rows, columns, false), row_log, tile.row_scale);
    detail::divide(x, tile);
    const float now = detail::imbalance(tile);
    if (!(now <= least)) continue;
    least = now;
    best = tile;
  }
  return best;
}

/// A row's codes: from its range, unrounded; `step` and `low` are kept times the row's scale, as
/// fp16.
struct CodedRow {
  float step = 0.0f, low = 0.0f;
  std::vector<std::uint8_t> codes;
};
inline CodedRow encode_row(std::span<const float> x, float row_scale, int bits) {
  float low = x[0], high = x[0];
  for (const float each : x) {
    low = min_nan(low, each);
    high = max_nan(high, each);
  }
  const int top = (1 << bits) - 1;
  float step = (high - low) / float(top);
  if (step < 0x1.b7cdfep-34f) step = 0x1.b7cdfep-34f;  // 1e-10
  CodedRow out{
      round_to(Format::fp16, row_scale * step), round_to(Format::fp16, row_scale * low), {}};
  for (const float each : x)
    out.codes.push_back(std::uint8_t(clamped_code((each - low) / step, top)));
  return out;
}

/// What a code stands for, in the rotated frame.
inline float value(int code, float step, float low, float column_scale) {
  return canonical((float(code) * step + low) * column_scale);
}

}  // namespace isobit::kvarn_shipped
