// Products of steps: a leaf for FMAs; for tensor cores a chain a slice, whose sums then meet.
#include "runtime/backends/cpu/ordered.h"

#include <algorithm>

namespace isobit::cpu {
OrderedBackend::OrderedBackend(const Mode& mode, const Kernels& kernels, int threads,
                               const FlashSchedule& attention)
    : CpuBackend(mode, kernels, threads, nullptr, attention) {
  ISOBIT_CHECK(!mode.wide());
}

std::shared_ptr<WeightMatrix> OrderedBackend::load_matrix(const MatrixSource& source) {
  MatrixSource plain = source;
  plain.blocks = {};
  return CpuBackend::load_matrix(plain);
}

void OrderedBackend::chains(const TensorUnit& unit, Rows x, const PackedMatrix& w,
                            const ProductStep& step, Rows out) {
  cut_product(x.rows, w, [&](Range rows, Range panels) {
    kernels_.f32.tensor_chain({&unit, row<float>(x, 0), x.stride, &w, step.begin, step.end,
                               row<float>(out, 0), out.stride, rows.begin, rows.end, panels.begin,
                               panels.end, step.lead});
  });
}

/// Some rows at a time, so that the slices' sums stay small.
void OrderedBackend::sliced(const ProductSteps& steps, const TensorUnit& unit, Rows x,
                            const PackedMatrix& w, Rows out) {
  const std::int64_t at_once =
      std::clamp<std::int64_t>(kSliceSums / (steps.lanes * w.n), 1, x.rows);
  sums_.resize(std::size_t(steps.lanes * at_once * w.n));
  for (std::int64_t first = 0; first < x.rows; first += at_once) {
    const std::int64_t rows = std::min(at_once, x.rows - first);
    const auto lane = [&](std::int32_t i) { return sums_.data() + i * rows * w.n; };
    for (const ProductStep& step : steps.steps) {
      if (step.begin == step.end) {
        float *to = lane(step.to), *from = lane(step.from);
        for (std::int64_t i = 0; i < rows * w.n; ++i) to[i] = to[i] + from[i];
      } else {
        chains(unit, {row<float>(x, first), rows, x.cols, x.stride}, w, step,
               {lane(step.to), rows, w.n, w.n});
      }
    }
    copy({lane(0), rows, w.n, w.n}, {row<float>(out, first), rows, w.n, out.stride});
  }
}

void OrderedBackend::ordered(const ProductSteps& steps, const TensorUnit* unit, Rows x,
                             const PackedMatrix& w, Rows out) {
  if (unit != nullptr) {
    if (steps.lanes == 1) return chains(*unit, x, w, steps.steps[0], out);
    return sliced(steps, *unit, x, w, out);
  }
  cut_product(x.rows, w, [&](Range rows, Range panels) {
    kernels_.f32.ordered({steps.steps.data(), std::int64_t(steps.steps.size()), steps.lanes,
                          row<float>(x, 0), x.stride, &w, row<float>(out, 0), out.stride,
                          rows.begin, rows.end, panels.begin, panels.end});
  });
}

}  // namespace isobit::cpu
