// Runs products of drawn operands on an engine and keeps some of their results (capture.h).
#pragma once

#include "harness/probe/capture.h"
#include "runtime/backends/registry.h"

namespace isobit::probe {

struct ProductPlan {
  BackendOptions backend;
  Precision precision = Precision::bf16;
  std::int64_t outputs = 0, inputs = 0;
  std::int64_t most_rows = 4096;
  std::vector<std::int64_t> rows;  // these alone; empty: wherever the library's choice changes
  std::int64_t draws = 2;          // 0: nothing is called, the library alone is asked
};

/// A plan's matrix, whose rows `read` fills.
MatrixSource matrix_of(const ProductPlan& plan, const Mode& mode,
                       std::function<void(std::int64_t row, std::span<float> out)> read);

/// The products of one matrix. Where the library says what it chooses, each run of rows with one
/// choice is called at both ends and in its middle; where it says nothing, at powers of two and
/// their halves and neighbours. Throws BackendError, also when interrupted, and std::bad_alloc.
MatrixCapture capture_products(Backend& backend, const ProductPlan& plan);

}  // namespace isobit::probe
