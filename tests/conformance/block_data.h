// Random matrices in the block formats of GGUF, as tensors over bytes in memory.
#pragma once

#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "runtime/checkpoint/weights.h"
#include "runtime/numerics/formats.h"
#include "runtime/numerics/random.h"

namespace isobit::blocks {

struct Kind {
  TensorType type;
  BlockFormat format;
};
inline constexpr Kind kKinds[] = {{TensorType::q4_0, BlockFormat::q4_0},
                                  {TensorType::q4_1, BlockFormat::q4_1},
                                  {TensorType::q8_0, BlockFormat::q8_0}};

struct Matrix {
  Tensor tensor;
  std::shared_ptr<std::vector<std::byte>> bytes;
};

/// Random codes; scales of either sign and of sizes from subnormal to one, offsets likewise.
inline Matrix random_matrix(TensorType type, std::int64_t rows, std::int64_t cols,
                            std::uint64_t seed) {
  const TypeLayout layout = layout_of(type);
  const std::int64_t blocks = rows * cols / layout.elements;
  auto bytes = std::make_shared<std::vector<std::byte>>(std::size_t(blocks * layout.bytes));
  std::uint32_t draw = 0;
  for (std::byte& byte : *bytes) byte = std::byte(draw24(seed, 1, draw++, 0) & 255);
  const int fields = type == TensorType::q4_1 ? 2 : 1;
  for (std::int64_t b = 0; b < blocks; ++b) {
    for (int f = 0; f < fields; ++f) {
      const std::uint32_t r = draw24(seed, 2, draw++, 0);
      const float size = (r & 15) == 0 ? 0x1p-20F : (r & 15) == 1 ? 0.0F : 0x1p-5F;
      const float value = (float(r) * 0x1p-24F - 0.5F) * size;
      const std::uint16_t half = fp16_from_float(value);
      std::memcpy(bytes->data() + b * layout.bytes + f * 2, &half, sizeof half);
    }
  }
  Matrix out;
  out.tensor.type = type;
  out.tensor.rows = rows;
  out.tensor.cols = cols;
  out.tensor.shape = {rows, cols};
  out.tensor.bytes = *bytes;
  out.bytes = std::move(bytes);
  return out;
}

}  // namespace isobit::blocks
