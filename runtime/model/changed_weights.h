// One matrix of a checkpoint under a WeightChange: its scales, and its rows as they are then.
//
// A scale is of the whole row or tensor and a draw of a weight's place in it, never of a rank's
// slice: slices joined are the whole. Callers: rank_model.cc, the harness's check before a run.
#pragma once

#include <vector>

#include "runtime/checkpoint/weights.h"
#include "runtime/numerics/weight_rounding.h"

namespace isobit {

class ChangedTensor {
 public:
  /// Reads every row that a scale of rows [first, last) needs. Errors name the tensor, and the row
  /// where each has its own scale: a weight that is not finite, or largest weights so small that
  /// the step of the grid is no normal fp32 number. REQUIRES: the tensor outlives the result.
  static Result<ChangedTensor> make(const Tensor& tensor, const WeightChange& change,
                                    std::int64_t first, std::int64_t last);

  /// Columns [begin, end) of one of those rows; the number of them whose bits changed.
  std::int64_t read_row(std::int64_t row, std::int64_t begin, std::int64_t end,
                        std::span<float> out) const;

 private:
  const Tensor* tensor_ = nullptr;
  WeightChange change_;
  WeightPlace place_;
  std::int64_t first_ = 0;
  std::vector<double> scales_;  // by row from first_; one for the whole tensor
};

/// Whether every matrix of a linear layer of a model can be changed so; a tied lm_head is none. An
/// error names the tensor.
Result<void> check_weight_change(const LoadedModel& model, const WeightChange& change);

}  // namespace isobit
