// Fuzzes the safetensors reader and the scales of 8-bit weights: no input may crash them, and every
// tensor that they accept is readable.
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "runtime/checkpoint/quantization.h"
#include "runtime/checkpoint/weights.h"

namespace {

void read_all(const isobit::Weights& weights) {
  for (const auto& [name, tensor] : weights.all()) {
    if (tensor.rows == 0) continue;
    std::vector<float> row(static_cast<std::size_t>(tensor.bytes.empty() ? 0 : tensor.cols));
    const auto cols = static_cast<std::int64_t>(row.size());
    tensor.read_row(0, 0, cols, row);
    tensor.read_row(tensor.rows - 1, 0, cols, row);
    if (cols > 1) tensor.read_row(tensor.rows - 1, 1, cols, std::span(row).subspan(1));
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using Kind = isobit::WeightScales::Kind;
  isobit::Weights weights;
  const auto bytes = std::as_bytes(std::span<const std::uint8_t>(data, size));
  if (!isobit::read_safetensors(bytes, "fuzz", weights)) return 0;
  read_all(weights);
  for (const isobit::WeightScales& scheme :
       {isobit::WeightScales{Kind::tensor, 0, 0}, isobit::WeightScales{Kind::channel, 0, 0},
        isobit::WeightScales{Kind::block, 2, 4}}) {
    isobit::Weights scaled = weights;
    std::vector<std::string> unused;
    if (isobit::apply_weight_scales(scheme, "fuzz", scaled, unused)) read_all(scaled);
  }
  return 0;
}
