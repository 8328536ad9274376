// Pairs of rows to distances: one layer and site at a time, and the split of an error into
// magnitude and direction. Pure, fp64, in the order of the elements and of the calls.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "harness/verdict.h"

namespace isobit {

/// What two rows of equal length have of each other. a: the reference's.
struct VectorDistance {
  double norm_a = 0, norm_b = 0;  // Euclidean
  double distance = 0;            // of a - b
  double max_abs = 0;
  double magnitude = 0;  // (norm_a - norm_b)^2
  double direction = 0;  // 2 norm_a norm_b (1 - cos), never negative; equal rows: exactly 0
};
/// NaN or an infinity in a row that the other does not equal makes everything infinite.
VectorDistance vector_distance(std::span<const double> a, std::span<const double> b);

/// Adds a row to its layer's sums.
void add_row(const VectorDistance& row, LayerSum& sum);

/// |K - K'|^2 of every KV head at every position and layer of a pair.
class VectorErrors {
 public:
  /// Rows of all KV heads at one position and layer; a head that is NaN in one of them is evicted
  /// and left out. REQUIRES: head_dim divides the equal lengths.
  void add(std::span<const double> a, std::span<const double> b, std::int64_t head_dim,
           LayerSum& sum);
  /// Share of the total that the 5 % largest errors carry, rounded up to whole ones; 0 of 0.
  [[nodiscard]] double largest_share() const;
  void append(const VectorErrors& more) {
    errors_.insert(errors_.end(), more.errors_.begin(), more.errors_.end());
  }
  [[nodiscard]] const std::vector<double>& errors() const { return errors_; }

 private:
  std::vector<double> errors_;
};

}  // namespace isobit
