// Task vectors of one tensor: how they are stored, what comes back, and how they are merged
// (NUMERICS.md, "Task vectors"; Kim et al. 2025, arXiv 2503.06921, sections 3 and 4). Pure.
//
// For harness/models and its tests.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "harness/merged.h"
#include "runtime/base/result.h"
#include "runtime/numerics/uniform_grid.h"

namespace isobit::models {

/// Values of one tensor on a grid.
struct Quantised {
  UniformGrid grid;
  std::vector<std::uint8_t> codes;  // one a value
  [[nodiscard]] float value(std::size_t i) const { return grid.value(codes[i]); }
};

/// What a store keeps of one tensor.
struct StoredTensor {
  TaskStore::Kind kind = TaskStore::Kind::tvq;  // never none
  std::vector<Quantised> base;                  // rtvq: one; else none
  std::vector<Quantised> tasks;                 // in the order of the tasks
  /// The vector of one task at element i: value, base + value, or value - pre (rtn), one rounding
  /// to fp32. `pre`: the base model's value there.
  [[nodiscard]] float vector_at(std::size_t task, std::size_t i, float pre) const;
};

/// Quantises one tensor of all tasks. `pre`: the base model's values; `tuned`: those of each
/// fine-tuned model. Errors, without a place: values that are not finite or have no grid.
/// REQUIRES: store.kind is not none, all sizes are equal and not 0.
Result<StoredTensor> store_tensor(const TaskStore& store, std::span<const float> pre,
                                  std::span<const std::vector<float>> tuned);

/// sum[i] += tuned[i] - pre[i], both operations in fp64: a task's vector that nothing stores.
void add_difference(std::span<const float> pre, std::span<const float> tuned,
                    std::span<double> sum);
/// sum[i] += the stored vector of a task.
void add_stored(const StoredTensor& stored, std::size_t task, std::span<const float> pre,
                std::span<double> sum);
/// pre[i] + scale * sum[i]: product and sum in fp64, then rounded to fp32. An error, without a
/// place, where a result is not finite or is below 2^-126 and not 0.
Result<std::vector<float>> merged_tensor(std::span<const float> pre, double scale,
                                         std::span<const double> sum);

/// Bits that a store keeps of `values` numbers in `tensors` tensors for `tasks` tasks, by task:
/// of codes alone, b_o + b_b / tasks, and with a step and a least value (64 bits) of each grid.
struct StoredBits {
  double codes = 0, all = 0;  // by value and task
};
StoredBits stored_bits(const TaskStore& store, std::size_t tasks, std::int64_t values,
                       std::int64_t tensors);

}  // namespace isobit::models
