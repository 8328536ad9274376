// gemm() notes which layer is computing; the rest is what defects are made with.

#include "harness/selftest/wrap.h"

#include <algorithm>

#include "harness/selftest/model.h"
#include "runtime/model/rank_model.h"

namespace isobit::selftest {

void ForwardingBackend::gemm(Rows x, const WeightMatrix& matrix, Rows out) {
  layer_ = place_of(matrix).layer;
  inner_->gemm(x, matrix, out);
}

ForwardingBackend::Place ForwardingBackend::place_of(const WeightMatrix& matrix) {
  auto at = std::find(seen_.begin(), seen_.end(), &matrix);
  if (at == seen_.end()) at = seen_.insert(at, &matrix);
  const int index = int(at - seen_.begin());
  constexpr int kOfLayer = int(Gemm::head);
  if (index >= kOfLayer * int(kLayers)) return {int(kLayers), Gemm::head};
  return {index / kOfLayer, Gemm(index % kOfLayer)};
}

bool ForwardingBackend::is(const WeightMatrix& matrix, Gemm gemm, int layer) {
  const Place place = place_of(matrix);
  return place.gemm == gemm && (layer < 0 || place.layer == layer);
}

std::vector<float> ForwardingBackend::fetch(Rows x) {
  ISOBIT_CHECK(!mode_.wide());
  std::vector<float> out(std::size_t(x.rows * x.cols));
  for (std::int64_t r = 0; r < x.rows; ++r) {
    inner_->download(out.data() + r * x.cols, static_cast<const float*>(x.data) + r * x.stride,
                     std::size_t(x.cols) * sizeof(float));
  }
  return out;
}

void ForwardingBackend::store(const std::vector<float>& values, Rows x) {
  ISOBIT_CHECK(!mode_.wide() && values.size() == std::size_t(x.rows * x.cols));
  for (std::int64_t r = 0; r < x.rows; ++r) {
    inner_->upload(static_cast<float*>(x.data) + r * x.stride, values.data() + r * x.cols,
                   std::size_t(x.cols) * sizeof(float));
  }
}

void ForwardingBackend::change(Rows x, const std::function<void(std::vector<float>&)>& f) {
  std::vector<float> values = fetch(x);
  f(values);
  store(values, x);
}

std::vector<std::vector<float>> ForwardingBackend::partial_products(
    Rows x, const WeightMatrix& matrix, Rows out, const std::vector<std::int64_t>& cuts) {
  std::vector<std::vector<float>> parts;
  const std::vector<float> all = fetch(x);
  const DeviceMemory memory(*inner_, all.size() * sizeof(float));
  const Rows masked{memory.get(), x.rows, x.cols, x.cols};
  for (std::size_t p = 0; p + 1 < cuts.size(); ++p) {
    std::vector<float> kept(all.size(), 0.0f);
    for (std::int64_t r = 0; r < x.rows; ++r) {
      const auto row = all.begin() + r * x.cols;
      std::copy(row + cuts[p], row + cuts[p + 1], kept.begin() + r * x.cols + cuts[p]);
    }
    store(kept, masked);
    inner_->gemm(masked, matrix, out);
    parts.push_back(fetch(out));
  }
  return parts;
}

void ForwardingBackend::split_gemm(Rows x, const WeightMatrix& matrix, Rows out, int parts) {
  // Not at a segment's end: there the tree would give the same sums.
  std::vector<std::int64_t> cuts{0};
  for (int p = 1; p < parts; ++p) cuts.push_back(x.cols * p / parts - 3);
  cuts.push_back(x.cols);
  const auto sums = partial_products(x, matrix, out, cuts);
  std::vector<float> total = sums.front();
  for (std::size_t p = 1; p < sums.size(); ++p) {
    for (std::size_t i = 0; i < total.size(); ++i) total[i] = total[i] + sums[p][i];
  }
  store(total, out);
}

}  // namespace isobit::selftest
