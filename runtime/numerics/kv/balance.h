// KVarN's dual-axis variance normalisation of a tile: scales of its rows and columns that bring
// their standard deviations together (arXiv 2606.03458). Host only; NUMERICS.md, "kvarn".
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

#include "runtime/numerics/functions.h"

namespace isobit {

/// The tile is divided by these: columns first, then rows.
template <class T>
struct BalanceScales {
  std::vector<T> rows, columns;

  /// `tile`, (rows, columns), divided by the scales.
  void divide(const std::vector<T>& tile, std::vector<T>& out) const {
    std::size_t i = 0;
    for (const T row : rows) {
      for (const T column : columns) {
        out[i] = tile[i] / column / row;
        ++i;
      }
    }
  }
};

template <class T>
class Balance {
 public:
  /// `tile`: (rows, columns), finite. REQUIRES: rows > 1, columns > 1.
  Balance(const std::vector<T>& tile, int rows, int columns)
      : tile_(tile),
        current_(tile),
        rows_(std::size_t(rows)),
        columns_(std::size_t(columns)),
        row_deviation_(rows_),
        column_deviation_(columns_) {}

  /// Scales of least imbalance among all after 0, 1, … `iterations` steps, the latest of equals.
  BalanceScales<T> scales(int iterations) {
    BalanceScales<T> now{std::vector<T>(rows_, T(1)), std::vector<T>(columns_, T(1))};
    BalanceScales<T> best = now;
    std::vector<T> row_log(rows_, T(0)), column_log(columns_, T(0));
    measure_columns();
    measure_rows();
    T least = imbalance();
    for (int step = 0; step < iterations; ++step) {
      adjust(column_deviation_, column_log, now.columns);
      now.divide(tile_, current_);
      measure_rows();
      adjust(row_deviation_, row_log, now.rows);
      now.divide(tile_, current_);
      measure_columns();
      measure_rows();
      const T reached = imbalance();
      if (!(reached <= least)) continue;
      least = reached;
      best = now;
    }
    return best;
  }

 private:
  static constexpr std::size_t kTogether = 16;  // lines whose sums run beside each other

  /// The largest deviation over the least (at least 1e-8), of columns and of rows.
  [[nodiscard]] T imbalance() const {
    const auto spread = [](const std::vector<T>& deviations) {
      T low = deviations[0], high = deviations[0];
      for (const T each : deviations) {
        low = min_nan(low, each);
        high = max_nan(high, each);
      }
      return high / (low < T(1e-8) ? T(1e-8) : low);
    };
    return spread(column_deviation_) + spread(row_deviation_);
  }

  /// A NaN stays.
  static T clamped(T x, T low, T high) { return x < low ? low : x > high ? high : x; }

  /// log += ln of the deviation, within bounds; scale = e^log.
  static void adjust(const std::vector<T>& deviations, std::vector<T>& logs,
                     std::vector<T>& scales) {
    for (std::size_t i = 0; i < logs.size(); ++i) {
      const T by = clamped(deviations[i], T(1e-3), T(1e3));
      logs[i] = clamped(logs[i] + T(log_(double(by))), T(-0.3), T(10));
      scales[i] = exp_(logs[i]);
    }
  }

  void measure_columns() { measure(columns_, 1, rows_, columns_, column_deviation_); }
  void measure_rows() { measure(rows_, columns_, columns_, 1, row_deviation_); }

  /// Unbiased standard deviations of lines of n values, in two passes, each sum in ascending order.
  void measure(std::size_t lines, std::size_t between, std::size_t n, std::size_t step,
               std::vector<T>& out) const {
    for (std::size_t first = 0; first < lines; first += kTogether) {
      const std::size_t count = std::min(kTogether, lines - first);
      const T* const x = current_.data() + first * between;
      T sum[kTogether] = {}, squares[kTogether] = {};
      for (std::size_t i = 0; i < n; ++i) {
        for (std::size_t l = 0; l < count; ++l) sum[l] = sum[l] + x[l * between + i * step];
      }
      for (std::size_t l = 0; l < count; ++l) sum[l] = sum[l] / T(n);
      for (std::size_t i = 0; i < n; ++i) {
        for (std::size_t l = 0; l < count; ++l) {
          const T off = x[l * between + i * step] - sum[l];
          squares[l] = squares[l] + off * off;
        }
      }
      for (std::size_t l = 0; l < count; ++l) out[first + l] = sqrt_(squares[l] / T(n - 1));
    }
  }

  const std::vector<T>& tile_;
  std::vector<T> current_;
  std::size_t rows_, columns_;
  std::vector<T> row_deviation_, column_deviation_;
};

}  // namespace isobit
