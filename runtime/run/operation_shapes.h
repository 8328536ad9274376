// One operation at one shape on one backend: what its launches share, and a launch.
// Caller: operation_engine.cc.
#pragma once

#include <memory>
#include <vector>

#include "runtime/backend.h"
#include "runtime/run/operand.h"
#include "runtime/run/operation.h"

namespace isobit {

/// Of a reduction, as in a model: part of the recipe of every cell.
constexpr int kOperationSegments = 8;

/// Who stands where in a launch: for each row the number of the watched row, or -1 - i of its i-th
/// neighbour.
using Launch = std::vector<std::int64_t>;

class ShapeRun {
 public:
  ShapeRun(Backend& backend, const OperationRequest& request, const OperationShape& shape,
           std::uint64_t seed);
  virtual ~ShapeRun() = default;
  ShapeRun(const ShapeRun&) = delete;
  ShapeRun& operator=(const ShapeRun&) = delete;

  [[nodiscard]] virtual std::int64_t inputs() const = 0;   // columns of a row of operands
  [[nodiscard]] virtual std::int64_t outputs() const = 0;  // columns of a row of results
  /// Whether the backend's operation takes rows with room between them.
  [[nodiscard]] virtual bool strided() const = 0;
  /// Fills a row of operands. REQUIRES: room for inputs() numbers.
  virtual void fill(std::int64_t who, std::span<double> out) const = 0;
  /// Computes a launch: the operation writes `out`. Gives the finished results, which last until
  /// the next call: `out` itself, or dense rows where the operation has an end of its own.
  virtual Rows run(const Launch& launch, const Operand& in, const Operand& out) = 0;
  /// Largest position that a row of the launches sees; 0 where there is none.
  [[nodiscard]] virtual std::int64_t last_position() const { return 0; }

 protected:
  Backend& backend_;
  const OperationRequest& request_;
  const OperationShape& shape_;
  std::uint64_t seed_;
};

/// REQUIRES: all references outlive it, and the request's operation is not none.
std::unique_ptr<ShapeRun> make_shape_run(Backend& backend, const OperationRequest& request,
                                         const OperationShape& shape, std::uint64_t seed);

}  // namespace isobit
