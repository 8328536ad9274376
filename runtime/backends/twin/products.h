// Products by a schedule book, everything else the reference's.
// Callers: engine.cc, transformers.cc.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "runtime/backends/cpu/ordered.h"
#include "runtime/numerics/product_book.h"

namespace isobit::twin {

using Book = std::shared_ptr<const ProductBook>;

/// Beside a matrix, the same with operands as a tensor core takes them.
struct Matrix final : cpu::CpuMatrix {
  explicit Matrix(cpu::CpuMatrix&& plain) : CpuMatrix(std::move(plain)) {}
  std::map<ProductOrder::Operands, std::shared_ptr<WeightMatrix>> rounded;
};

class ProductTwin : public cpu::OrderedBackend {
 public:
  /// `forecast`: lines that were never called may be computed by, too.
  ProductTwin(const Mode& mode, const cpu::Kernels& kernels, int threads,
              const FlashSchedule& attention, Book book, bool forecast);

  [[nodiscard]] BackendInfo describe() const override;
  /// Throws BackendError where the book does not know the product.
  void gemm(Rows x, const WeightMatrix& matrix, Rows out) override;
  std::shared_ptr<WeightMatrix> load_matrix(const MatrixSource& source) override;

 protected:
  /// gemm() of rows that are some of `call_rows`, the rows of the library's call.
  void gemm_of_call(Rows x, const WeightMatrix& matrix, std::int64_t call_rows, Rows out);
  /// Throws unless there is a line and it may be computed by; what() names the shape, and is asked
  /// for it only then: this stands before every operation.
  template <class Line, class What>
  void require(const Line* line, const What& what) const {
    if (line == nullptr) refuse("has no line for " + what());
    if (line->evidence == BookEvidence::open) refuse("knows no order that fits for " + what());
    const bool forecast = line->evidence == BookEvidence::forecast;
    if (forecast && !forecast_) refuse("has only a forecast for " + what());
  }
  [[noreturn]] void refuse(const std::string& why) const;
  [[nodiscard]] const ProductBook& book() const { return *book_; }

 private:
  using Operands = ProductOrder::Operands;
  struct Steps {
    ProductSteps steps;
    std::optional<TensorUnit> unit;
    Operands operands = Operands::exact;
  };
  /// Rows as the tensor core takes them, in memory that the next call overwrites.
  Rows taken_rows(Operands how, Rows x);
  const Steps& steps_of(Format operand, std::int64_t outputs, std::int64_t inputs,
                        std::int64_t rows);

  Book book_;
  bool forecast_;
  Format operand_, scaled_operand_;  // of matrices without and with scales
  std::set<Operands> rounded_;       // how the book's tensor cores take fp32 operands
  std::vector<float> rows_;
  std::map<const ProductLine*, Steps> used_;
  std::int64_t forecasts_ = 0;
};

}  // namespace isobit::twin
