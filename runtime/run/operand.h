// Rows of an operand as a caller of a kernel may have them: at an offset in their allocation, with
// room between them. What is no row is NaN, so that a read beyond a row is no number, and a write
// there is seen. Caller: operation_shapes.cc, operation_engine.cc.
#pragma once

#include <span>

#include "runtime/device_memory.h"

namespace isobit {

class Operand {
 public:
  /// REQUIRES: the backend outlives it.
  Operand(Backend& backend, std::int64_t rows, std::int64_t cols, std::int64_t align,
          std::int64_t gap);
  [[nodiscard]] Rows rows() const { return rows_; }
  [[nodiscard]] Rows row(std::int64_t r) const { return some(r, 1); }
  [[nodiscard]] Rows some(std::int64_t first, std::int64_t count) const;
  void set(std::int64_t row, std::span<const double> values);
  /// Whether nothing was written before, between and behind the rows.
  [[nodiscard]] bool intact() const;
  /// Elements from the allocation to the first row, and between two rows.
  [[nodiscard]] std::int64_t offset() const;
  [[nodiscard]] std::int64_t gap() const { return rows_.stride - rows_.cols; }

 private:
  [[nodiscard]] std::size_t elements() const;
  Backend& backend_;
  std::int64_t align_;
  Rows rows_;
  DeviceMemory memory_;
};

}  // namespace isobit
