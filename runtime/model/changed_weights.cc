// Scales in ascending order of rows and columns, in fp64 where they are sums.
#include "runtime/model/changed_weights.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "runtime/base/text.h"
#include "runtime/model/arch/architecture.h"
#include "runtime/model/rank_model.h"
#include "runtime/numerics/bits.h"
#include "runtime/numerics/digest.h"

namespace isobit {
namespace {

/// What the scale of some weights is made of.
struct Magnitude {
  float amax = 0;
  double squares = 0;
  bool finite = true;

  void add(std::span<const float> row) {
    for (const float w : row) {
      finite &= std::isfinite(w);
      amax = std::max(amax, std::abs(w));
      squares += double(w) * double(w);
    }
  }
};

/// "tensor NAME" or "tensor NAME, row 3"
std::string called(const Tensor& tensor, const WeightChange& change, std::int64_t row) {
  return "tensor " + tensor.name +
         (change.whole_tensor ? std::string() : ", row " + std::to_string(row));
}

Result<double> scale_of(const Tensor& tensor, const WeightChange& change, std::int64_t row,
                        std::int64_t count, const Magnitude& of) {
  if (!of.finite) {
    return Error{"weights cannot be changed to " + change.text + ": " +
                     called(tensor, change, row) + " has one that is not finite",
                 ""};
  }
  if (change.kind == WeightChange::Kind::gaussian) return sqrt_(of.squares / double(count));
  const float step = grid_step(of.amax, change.bits);
  if (of.amax == 0.0F || step >= std::numeric_limits<float>::min()) return double(step);
  return Error{"weights cannot be rounded to " + change.text + ": the step of " +
                   called(tensor, change, row) + " underflows, its largest magnitude is " +
                   text::number(double(of.amax)),
               ""};
}

/// Whether rows of the tensor are looked up by a token's id or its position.
bool is_table(const Architecture& family, const std::string& name) {
  return std::any_of(family.before.begin(), family.before.end(), [&](const TensorRow& row) {
    return std::holds_alternative<EmbeddingTable RankModel::*>(row.fills) &&
           row.name + std::string(".weight") == name;
  });
}

}  // namespace

Result<ChangedTensor> ChangedTensor::make(const Tensor& tensor, const WeightChange& change,
                                          std::int64_t first, std::int64_t last) {
  ISOBIT_CHECK(change.changes() && first >= 0 && first <= last && last <= tensor.rows);
  ChangedTensor out;
  out.tensor_ = &tensor;
  out.change_ = change;
  out.place_.tensor = hash64(std::as_bytes(std::span(tensor.name.data(), tensor.name.size())));
  out.first_ = first;
  std::vector<float> row(std::size_t(tensor.cols));
  Magnitude whole;
  const std::int64_t begin = change.whole_tensor ? 0 : first;
  const std::int64_t end = change.whole_tensor ? tensor.rows : last;
  for (std::int64_t r = begin; r < end; ++r) {
    tensor.read_row(r, 0, tensor.cols, row);
    if (change.whole_tensor) {
      whole.add(row);
      continue;
    }
    Magnitude own;
    own.add(row);
    const auto scale = scale_of(tensor, change, r, tensor.cols, own);
    ISOBIT_TRY(scale);
    out.scales_.push_back(*scale);
  }
  if (!change.whole_tensor) return out;
  const auto scale = scale_of(tensor, change, 0, tensor.rows * tensor.cols, whole);
  ISOBIT_TRY(scale);
  out.scales_.assign(1, *scale);
  return out;
}

std::int64_t ChangedTensor::read_row(std::int64_t row, std::int64_t begin, std::int64_t end,
                                     std::span<float> out) const {
  tensor_->read_row(row, begin, end, out);
  const std::vector<float> before(out.begin(), out.end());
  WeightPlace place = place_;
  place.row = std::uint32_t(row);
  place.column = std::uint32_t(begin);
  const double scale = scales_[change_.whole_tensor ? 0 : std::size_t(row - first_)];
  change_weights(change_, scale, place, out);
  std::int64_t changed = 0;
  for (std::size_t i = 0; i < out.size(); ++i) changed += bits_of(out[i]) != bits_of(before[i]);
  return changed;
}

Result<void> check_weight_change(const LoadedModel& model, const WeightChange& change) {
  if (!change.changes()) return {};
  const Architecture& family = architecture_of(model.config);
  for (const TableTensor& row : needed_tensors(model.config)) {
    const Tensor* tensor = model.weights.find(row.name);
    const bool linear = !row.is_bias && !row.is_norm && !is_table(family, row.name);
    if (tensor == nullptr || !linear) continue;
    const auto changed = ChangedTensor::make(*tensor, change, 0, tensor->rows);
    ISOBIT_TRY(changed);
  }
  return {};
}

}  // namespace isobit
