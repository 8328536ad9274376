// Random matrices in the block formats of GGUF, as tensors over bytes in memory.
#pragma once

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "runtime/checkpoint/weights.h"
#include "runtime/numerics/blocks.h"
#include "runtime/numerics/formats.h"
#include "runtime/numerics/random.h"

namespace isobit::blocks {

struct Kind {
  TensorType type;
  BlockFormat format;
  std::vector<std::size_t> fp16_fields;  // where they are in a block
  [[nodiscard]] std::int64_t columns() const { return block_shape(format).columns; }
};
inline const std::vector<Kind> kKinds = {
    {TensorType::q4_0, BlockFormat::q4_0, {0}},     {TensorType::q4_1, BlockFormat::q4_1, {0, 2}},
    {TensorType::q8_0, BlockFormat::q8_0, {0}},     {TensorType::q5_0, BlockFormat::q5_0, {0}},
    {TensorType::q5_1, BlockFormat::q5_1, {0, 2}},  {TensorType::q2_k, BlockFormat::q2_k, {80, 82}},
    {TensorType::q3_k, BlockFormat::q3_k, {108}},   {TensorType::q4_k, BlockFormat::q4_k, {0, 2}},
    {TensorType::q5_k, BlockFormat::q5_k, {0, 2}},  {TensorType::q6_k, BlockFormat::q6_k, {208}},
    {TensorType::iq4_nl, BlockFormat::iq4_nl, {0}}, {TensorType::iq4_xs, BlockFormat::iq4_xs, {0}},
};

inline const Kind& kind_of(TensorType type) {
  return *std::find_if(kKinds.begin(), kKinds.end(),
                       [type](const Kind& kind) { return kind.type == type; });
}

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
  for (std::int64_t b = 0; b < blocks; ++b) {
    for (const std::size_t field : kind_of(type).fp16_fields) {
      const std::uint32_t r = draw24(seed, 2, draw++, 0);
      float size = (r & 15) == 0 ? 0x1p-20F : (r & 15) == 1 ? 0.0F : 0x1p-5F;
      if (layout.elements > 32) size *= 0x1p-6F;  // multiplied by scales of 4 to 8 bits as well
      const float value = (float(r) * 0x1p-24F - 0.5F) * size;
      const std::uint16_t half = fp16_from_float(value);
      std::memcpy(bytes->data() + std::size_t(b * layout.bytes) + field, &half, sizeof half);
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
