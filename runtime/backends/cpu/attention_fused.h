// Fused attention of libraries (numerics/fused.h) on the CPU: the literal text's bits, with keys
// and values of a head packed as the tensor chains read matrices.
//
// Callers: OrderedBackend's derived engines.
#pragma once

#include <span>
#include <vector>

#include "runtime/backends/cpu/attention.h"
#include "runtime/numerics/fused.h"

namespace isobit::cpu {

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
