// Packing a rank's slice of a weight matrix into panels, once, at load.
//
// Promise: the packed element is exactly R(value) of the format asked for, in the smallest element
// type that holds it; the padding past the last output is zero. Callers: the CPU backend, tests.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "runtime/backends/cpu/kernels.h"

namespace invar::cpu {

/// What a slice is. Columns are the slice's own: [0, k).
struct PackSpec {
  std::int64_t n = 0;  // outputs
  std::int64_t k = 0;  // columns
  /// Owned segments in slice columns, ascending, from 0 to k; empty when the rank owns none.
  std::vector<std::int64_t> bounds;
  Format rounded = Format::f32;  // R applied to every value
  /// Per output (n), or empty. A value is divided by its scale before R when `divide` is set;
  /// a checkpoint's own 8-bit values come undivided.
  std::vector<float> scale;
  bool divide = false;
};

/// Fills `out` (k) with the slice's columns of one output row.
using RowReader = std::function<void(std::int64_t row, std::span<float> out)>;

/// The element type that holds every value of a format: f32 for tf32, bf16 for the 8-bit ones.
Format element_of(Format rounded);

/// Elements of a panel-packed matrix, padding included.
std::int64_t packed_elements(std::int64_t n, std::int64_t k);

/// REQUIRES: bounds and scale as PackSpec says (checked).
PackedMatrix pack(const PackSpec& spec, const RowReader& read_row);

}  // namespace invar::cpu
