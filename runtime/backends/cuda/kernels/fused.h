// Fused attention of libraries (numerics/fused.h), as kernels.h has the reference's.
// Callers: cuda/attention.cc.
#pragma once

#include "runtime/backends/cuda/kernels/kernels.h"
#include "runtime/numerics/fused.h"

namespace isobit::cuda {

/// What a row has of the call that it belongs to.
struct FusedRow {
  FusedPlan plan;
  std::int64_t keys = 0;     // columns, with those of padding
  std::int64_t padding = 0;  // columns before position 0
};

/// attention() in the order of each row's plan, rounded to the unit's operand. rows: one for each
/// of the call's, on the GPU. REQUIRES: max_splits is the most of the plans'; the pools hold the
/// unit's operand, of 16 bits; no row has a mask or a window, and the call has no soft cap.
void attention_fused(const AttentionCall& call, const TensorUnit& unit, const FusedRow* rows);

}  // namespace isobit::cuda
