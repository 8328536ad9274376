// The CPU backend with its products in the order of a library's kernels, or of a tensor core.
//
// Only gemm is replaced: everything else is the reference's. Callers: twin/, tensor_model.cc.
#pragma once

#include <vector>

#include "runtime/backends/cpu/cpu_backend.h"
#include "runtime/numerics/product_order.h"

namespace isobit::cpu {

class OrderedBackend : public CpuBackend {
 public:
  OrderedBackend(const Mode& mode, const Kernels& kernels, int threads,
                 const FlashSchedule& attention);

  /// Blocks are widened: a kernel's order is one of plain elements.
  std::shared_ptr<WeightMatrix> load_matrix(const MatrixSource& source) override;

 protected:
  /// out = x * w by the steps, of a tensor core's groups or, without a unit, of FMAs.
  void ordered(const ProductSteps& steps, const TensorUnit* unit, Rows x, const PackedMatrix& w,
               Rows out);

 private:
  /// One chain of groups over a step's columns.
  void chains(const TensorUnit& unit, Rows x, const PackedMatrix& w, const ProductStep& step,
              Rows out);
  void sliced(const ProductSteps& steps, const TensorUnit& unit, Rows x, const PackedMatrix& w,
              Rows out);

  std::vector<float> sums_;
};

}  // namespace isobit::cpu
