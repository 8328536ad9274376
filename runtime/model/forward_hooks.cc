// The hooks in the forward pass: values go to the host as double, a hook sees or changes them, they
// go back as Real. Slow and exact; nothing here runs when there is no hook.

#include "runtime/model/forward.h"

namespace isobit {

const char* name_of(RowSite site) {
  static constexpr const char* kNames[kRowSites] = {"residual", "k", "v", "attn"};
  return kNames[std::size_t(site)];
}

void Forward::apply_residual_hook(int index, Rows h, std::span<const StepRow> rows) {
  apply_row_hook(RowSite::residual, index, h, rows);
  if (!residual_) return;
  std::vector<double> values = backend_.reals(h);
  const std::size_t width = std::size_t(h.cols);
  for (std::size_t r = 0; r < rows.size(); ++r) {
    residual_(index, rows[r].sequence, rows[r].position,
              std::span(values).subspan(r * width, width));
  }
  backend_.set_reals(values, h);
}

void Forward::apply_row_hook(RowSite site, int index, Rows x, std::span<const StepRow> rows) {
  if (hook_ == nullptr || x.cols == 0) return;  // a rank may have no heads
  for (std::size_t r = 0; r < rows.size(); ++r) {
    if (!hook_->wants(site, index, rows[r])) continue;
    const Rows row = some_rows(x, std::int64_t(r), 1, backend_.real_size());
    std::vector<double> values = backend_.reals(row);
    if (hook_->see(site, index, rows[r], values)) backend_.set_reals(values, row);
  }
}

}  // namespace isobit
