// Rows of numbers from files of other programs: .npy and .safetensors. Bounds-checked views into a
// mapped file; values are widened exactly, never rounded.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "runtime/base/result.h"

namespace isobit {

enum class RowType : std::uint8_t { f16, bf16, f32, f64 };
/// "F16", "BF16", "F32", "F64".
const char* name_of(RowType type);
std::int64_t bytes_of(RowType type);

/// Row-major, little-endian, as the file holds it.
struct RowTable {
  RowType type = RowType::f32;
  std::int64_t rows = 0, cols = 0;
  std::span<const std::byte> bytes;
};

/// A .npy file, format 1, 2 or 3: two dimensions, C order, '<f2', '<f4' or '<f8', and no byte more
/// or less than these take. Errors name the byte.
Result<RowTable> read_npy(std::span<const std::byte> file, const std::string& place);

/// One row as fp32; 16-bit values are widened exactly. NaN becomes canonical. REQUIRES: not f64.
void read_row(const RowTable& table, std::int64_t row, std::vector<float>& out);
/// REQUIRES: f64.
void read_row(const RowTable& table, std::int64_t row, std::vector<double>& out);

/// A file of rows, mapped as long as one of its copies lives.
class RowFile {
 public:
  /// By the end of its name: .npy is one table for whoever asks, .safetensors one a tensor.
  static Result<RowFile> open(const std::string& path);
  /// The table of a prompt.
  [[nodiscard]] Result<RowTable> of_prompt(const std::string& prompt) const;

 private:
  std::string path_;
  std::shared_ptr<const void> owner_;
  std::map<std::string, RowTable> tables_;       // of .npy: one, named ""
  std::map<std::string, std::string> unusable_;  // type or shape of the other tensors
};

}  // namespace isobit
