// The residual hook in the forward pass: values go to the host as double, the hook sees or changes
// them, they go back as Real. Slow and exact; nothing here runs when the hook is empty.

#include "runtime/model/forward.h"

namespace isobit {

void Forward::apply_residual_hook(int index, Rows h, std::span<const StepRow> rows) {
  if (!residual_) return;
  std::vector<double> values = backend_.reals(h);
  const std::size_t width = std::size_t(h.cols);
  for (std::size_t r = 0; r < rows.size(); ++r) {
    residual_(index, rows[r].sequence, rows[r].position,
              std::span(values).subspan(r * width, width));
  }
  backend_.set_reals(values, h);
}

}  // namespace isobit
