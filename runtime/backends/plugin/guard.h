// Memory that a plugin may write to, and how one looks at what it did there.
//
// A block lies between two margins. Margins, and what is between two rows, hold canaries; values
// hold a NaN that nothing computes. It works in any backend's memory, by upload and download.
// Callers: this folder.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include "runtime/device_memory.h"

namespace isobit {

class GuardedBlock {
 public:
  /// Rows of `row_bytes`, `stride_bytes` apart, every value unwritten; the first one lies `shift`
  /// bytes behind an address that 64 divides. The memory is that of the block before when it is
  /// large enough. REQUIRES: shift < 64.
  void prepare(Backend& memory, std::int64_t rows, std::size_t row_bytes, std::size_t stride_bytes,
               std::size_t shift = 0);
  /// Writes the rows that somebody is to read; `rows` has them one behind the other. REQUIRES:
  /// prepare().
  void fill(Backend& memory, const void* rows);
  /// Address of the first row.
  [[nodiscard]] void* data() const;
  /// Reads the block back; waits for what was queued.
  void fetch(Backend& memory);
  /// Where a canary changed, "in row 3, 4 bytes behind its end", or empty. REQUIRES: fetch().
  [[nodiscard]] std::string damage() const;

  /// Whether the rows are those of fill(). REQUIRES: fetch().
  [[nodiscard]] bool holds(const void* rows) const;

  /// Values that are still unwritten, and those that are NaN, of rows with one for which `counts`
  /// holds. REQUIRES: fetch().
  struct Count {
    std::int64_t number = 0, row = 0, col = 0;  // the first one's place
  };
  [[nodiscard]] Count unwritten(std::size_t value_bytes) const;
  [[nodiscard]] Count not_a_number(std::size_t value_bytes,
                                   const std::function<bool(std::int64_t)>& counts) const;

 private:
  template <class Is>
  [[nodiscard]] Count count(std::size_t value_bytes, const Is& is,
                            const std::function<bool(std::int64_t)>& counts) const;
  [[nodiscard]] std::size_t begin() const;  // bytes before the first row
  [[nodiscard]] std::size_t span() const;   // bytes from the first row to the end of the last

  std::int64_t rows_ = 0;
  std::size_t row_bytes_ = 0, stride_bytes_ = 0, shift_ = 0, reserved_ = 0;
  DeviceMemory memory_;
  std::vector<unsigned char> bytes_;
};

}  // namespace isobit
