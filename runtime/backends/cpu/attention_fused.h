// Fused attention of libraries (numerics/fused.h) on the CPU: the literal text's bits, with keys
// and values of a head packed as the tensor chains read matrices.
//
// One object computes one call after the other; its memory is kept. Callers: OrderedBackend's
// derived engines.
#pragma once

#include <span>
#include <vector>

#include "runtime/backends/cpu/attention.h"
#include "runtime/numerics/fused.h"

namespace isobit::cpu {

/// Rows of one sequence in one call, as the library sees them: columns of padding in front, then
/// the sequence's positions.
struct FusedSequence {
  std::int64_t first_row = 0, rows = 0;  // in the call's AttentionRows, ascending positions
  std::int64_t padding = 0;              // columns before position 0
  FusedPlan plan;
  FusedShape shape;
};

/// Multiprocessors of the GPU whose kernels are meant where nothing else says: an H100 or H200.
constexpr std::int64_t kUsualMultiprocessors = 132;

/// A kernel's calls of a step, one for the rows of each sequence. Errors say what it cannot.
Result<std::vector<FusedSequence>> fused_calls(const FusedChoice& choice,
                                               const AttentionRows& args);

class FusedAttention {
 public:
  /// `tables`: of the special function unit; they outlive the object.
  FusedAttention(const Kernels& kernels, const TensorUnit& unit,
                 const SpecialTables& tables = hopper_tables())
      : kernels_(kernels), unit_(unit), tables_(tables) {}
  /// out = attention of every row over its sequence's columns [0, shape.keys).
  void run(const AttentionCall<float>& call, std::span<const FusedSequence> sequences,
           ThreadPool& pool) const;

 private:
  const Kernels& kernels_;
  TensorUnit unit_;
  const SpecialTables& tables_;
};

}  // namespace isobit::cpu
