// Products in the order of a tensor core (numerics/tensorcore.h), as kernels.h has the reference's.
//
// Promise: every segment of the matrix is one chain of groups from +0 whose first group starts at
// the segment's first column; the neighbour tree adds the segments; a NaN is canonical. The bits
// depend on nothing else. Callers: cuda/tensor_backend.cc.
#pragma once

#include "runtime/backends/cuda/kernels/kernels.h"
#include "runtime/numerics/tensorcore.h"

namespace isobit::cuda {

/// The literal text, one thread an output and segment: any unit, any GPU.
/// REQUIRES: not wide, segments; x and the weights are exact in the unit's operand.
const char* tensor_gemm_literal(const GemmCall& call, const TensorUnit& unit);

/// How tensor_gemm_mma() deals a product out: to warps, one a segment, which read their operands
/// from global memory; or to tiles of 64 outputs and 128 rows in shared memory.
enum class MmaShape { rows, tile };
/// The faster one, as far as it is known.
MmaShape mma_shape(const GemmCall& call, int multiprocessors);

/// The chains of sm90's unit of bf16 or fp16 by mma.sync m16n8k16.
/// REQUIRES: a GPU of capability 90; x in tensor_words(), of the weights' element.
const char* tensor_gemm_mma(const GemmCall& call, const void* x_words, MmaShape shape);
/// x as the weights lie: word (b, r) at [b * rows + r] holds 8 columns of row r, zeros behind the
/// segment's last one. to: tensor_words_bytes(call) bytes.
void tensor_words(const GemmCall& call, void* to);
std::size_t tensor_words_bytes(const GemmCall& call);

}  // namespace isobit::cuda
