// Weights kept as the checkpoint's blocks of 32 or 256: a few bits an element instead of 16 or 32,
// and nothing to convert at load (block_layout.h says where everything is).
//
// Promise: PackedMatrix::at gives the same value as for the expanded matrix. Callers: the CPU
// backend, tests.
#pragma once

#include <cstddef>
#include <functional>

#include "runtime/backends/cpu/kernels/block_layout.h"

namespace isobit::cpu {

struct PackSpec;

/// Can a matrix with this R stay in blocks? Not where Real is fp64 or values have scales.
bool keeps_blocks(Format rounded);

/// A matrix of blocks with its memory taken, nothing in it written yet. `skip` is less than a
/// block's columns.
/// REQUIRES: spec is valid, without scales; keeps_blocks(spec.rounded).
PackedMatrix make_packed_blocks(const PackSpec& spec, BlockFormat format, std::int64_t skip);

/// The first block of one output's row; its others follow.
using BlockRow = std::function<const std::byte*(std::int64_t row)>;

/// Writes panels [begin, end). False when a scale or an offset is not finite: such a matrix must be
/// expanded, since the kernels round as if there were no NaN.
bool pack_block_panels(const BlockRow& row, std::int64_t begin, std::int64_t end, PackedMatrix& m);

/// The rounded values of columns [begin, end) of one output.
void block_values(const PackedMatrix& m, std::int64_t row, std::int64_t begin, std::int64_t end,
                  float* out);

}  // namespace isobit::cpu
