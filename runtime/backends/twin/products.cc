// Products of a book (products.h).
#include "runtime/backends/twin/products.h"

#include <algorithm>

namespace isobit::twin {
namespace {

const cpu::PackedMatrix& packed_of(const WeightMatrix& matrix) {
  return static_cast<const cpu::CpuMatrix&>(matrix).packed;
}

}  // namespace

ProductTwin::ProductTwin(const Mode& mode, const cpu::Kernels& kernels, int threads,
                         const FlashSchedule& attention, Book book, bool forecast)
    : OrderedBackend(mode, kernels, threads, attention),
      book_(std::move(book)),
      forecast_(forecast),
      operand_(operand_of(*book_, mode, false)),
      scaled_operand_(operand_of(*book_, mode, true)) {
  for (const ProductLine& line : book_->lines) {
    const bool mine = line.operand == operand_ && line.order.operands != Operands::exact;
    if (mine) rounded_.insert(line.order.operands);
  }
}

BackendInfo ProductTwin::describe() const {
  BackendInfo info = OrderedBackend::describe();
  info.engine = "twin:" + book_->name + "@" + book_->digest;
  info.kernels += " products of " + book_->keys.at("engine") + " by " + book_->name + ": " +
                  std::to_string(used_.size()) + " shapes proved, " + std::to_string(forecasts_) +
                  " forecast";
  return info;
}

void ProductTwin::gemm(Rows x, const WeightMatrix& matrix, Rows out) {
  gemm_of_call(x, matrix, x.rows, out);
}

void ProductTwin::gemm_of_call(Rows x, const WeightMatrix& matrix, std::int64_t call_rows,
                               Rows out) {
  const cpu::PackedMatrix& w = packed_of(matrix);
  if (x.rows == 0 || w.n == 0) return;
  if (w.segments() == 0) return OrderedBackend::gemm(x, matrix, out);
  const Steps& steps = steps_of(matrix.scaled ? scaled_operand_ : operand_, w.n, w.k, call_rows);
  const TensorUnit* unit = steps.unit ? &*steps.unit : nullptr;
  if (steps.operands == Operands::exact) return ordered(steps.steps, unit, x, w, out);
  const auto& held = static_cast<const Matrix&>(matrix).rounded;
  ordered(steps.steps, unit, taken_rows(steps.operands, x), packed_of(*held.at(steps.operands)),
          out);
}

std::shared_ptr<WeightMatrix> ProductTwin::load_matrix(const MatrixSource& source) {
  auto plain = OrderedBackend::load_matrix(source);
  if (rounded_.empty()) return plain;
  auto out = std::make_shared<Matrix>(std::move(static_cast<cpu::CpuMatrix&>(*plain)));
  for (const Operands how : rounded_) {
    MatrixSource of = source;
    of.read = [read = source.read, how, format = source.format](std::int64_t row,
                                                                std::span<float> to) {
      read(row, to);
      for (float& value : to) value = taken(how, round_to(format, value));
    };
    out->rounded[how] = OrderedBackend::load_matrix(of);
  }
  return out;
}

void ProductTwin::refuse(const std::string& why) const {
  throw BackendError("book " + book_->name + " " + why);
}

Rows ProductTwin::taken_rows(Operands how, Rows x) {
  rows_.resize(std::size_t(x.rows * x.cols));
  for (std::int64_t r = 0; r < x.rows; ++r) {
    const float* from = static_cast<const float*>(x.data) + r * x.stride;
    std::transform(from, from + x.cols, rows_.begin() + r * x.cols,
                   [how](float value) { return taken(how, value); });
  }
  return {rows_.data(), x.rows, x.cols, x.cols};
}

const ProductTwin::Steps& ProductTwin::steps_of(Format operand, std::int64_t outputs,
                                                std::int64_t inputs, std::int64_t rows) {
  const ProductLine* line = book_->find(operand, outputs, inputs, rows);
  require(line, [&] {
    return name_of_operand(operand) + ", outputs " + std::to_string(outputs) + ", inputs " +
           std::to_string(inputs) + ", rows " + std::to_string(rows);
  });
  const auto [at, fresh] = used_.try_emplace(line);
  if (fresh) {
    at->second = {product_steps(line->order, inputs), unit_of(line->order, operand),
                  line->order.operands};
    forecasts_ += line->evidence == BookEvidence::forecast ? 1 : 0;
  }
  return at->second;
}

}  // namespace isobit::twin
