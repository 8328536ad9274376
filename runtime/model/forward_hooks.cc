// The residual hook in the forward pass: values go to the host as double, the hook sees or changes
// them, they go back as Real. Slow and exact; nothing here runs when the hook is empty.

#include <algorithm>

#include "runtime/model/forward.h"

namespace isobit {
namespace {

/// Rows of Real in backend memory as doubles on the host, dense.
std::vector<double> fetch(Backend& backend, Rows x) {
  std::vector<double> out(std::size_t(x.rows * x.cols));
  for (std::int64_t r = 0; r < x.rows; ++r) {
    const char* from =
        static_cast<const char*>(x.data) + std::size_t(r * x.stride) * backend.real_size();
    double* to = out.data() + r * x.cols;
    if (backend.mode().wide()) {
      backend.download(to, from, std::size_t(x.cols) * sizeof(double));
    } else {
      std::vector<float> row(std::size_t(x.cols));
      backend.download(row.data(), from, row.size() * sizeof(float));
      std::copy(row.begin(), row.end(), to);
    }
  }
  return out;
}

void store(Backend& backend, const std::vector<double>& values, Rows x) {
  for (std::int64_t r = 0; r < x.rows; ++r) {
    char* to = static_cast<char*>(x.data) + std::size_t(r * x.stride) * backend.real_size();
    const double* from = values.data() + r * x.cols;
    if (backend.mode().wide()) {
      backend.upload(to, from, std::size_t(x.cols) * sizeof(double));
    } else {
      const std::vector<float> row(from, from + x.cols);
      backend.upload(to, row.data(), row.size() * sizeof(float));
    }
  }
}

}  // namespace

void Forward::apply_residual_hook(int index, Rows h, std::span<const StepRow> rows) {
  if (!residual_) return;
  std::vector<double> values = fetch(backend_, h);
  const std::size_t width = std::size_t(h.cols);
  for (std::size_t r = 0; r < rows.size(); ++r) {
    residual_(index, rows[r].sequence, rows[r].position,
              std::span(values).subspan(r * width, width));
  }
  store(backend_, values, h);
}

}  // namespace isobit
