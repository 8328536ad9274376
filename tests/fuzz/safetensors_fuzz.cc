// Fuzzes the safetensors reader: no input may crash it, and every tensor it accepts is readable.
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "runtime/checkpoint/weights.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  isobit::Weights weights;
  const auto bytes = std::as_bytes(std::span<const std::uint8_t>(data, size));
  if (!isobit::read_safetensors(bytes, "fuzz", weights)) return 0;
  for (const auto& [name, tensor] : weights.all()) {
    if (tensor.rows == 0) continue;
    std::vector<float> row(static_cast<std::size_t>(tensor.bytes.empty() ? 0 : tensor.cols));
    const auto cols = static_cast<std::int64_t>(row.size());
    tensor.read_row(0, 0, cols, row);
    tensor.read_row(tensor.rows - 1, 0, cols, row);
  }
  return 0;
}
