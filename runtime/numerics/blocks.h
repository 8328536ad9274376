// The block formats of GGUF: how many columns a block has, and which fp32 numbers it stands for.
//
// A value is code * scale + offset with an integer code of at most 8 bits (NUMERICS.md, "Formats").
// Scales and offsets are exact in fp32 and so is code * scale, hence the sum rounds once: the value
// is fma(scale, code, offset), whether or not a compiler contracts it, and equals what ggml's
// dequantize_row_* and gguf-py compute. A NaN has no particular payload.
// Callers: checkpoints, the CPU backend's packed blocks, tests.
#pragma once

#include <cstddef>
#include <cstdint>

#include "runtime/numerics/bits.h"
#include "runtime/numerics/precision.h"

namespace isobit {

constexpr int kPartColumns = 32;  // columns that are decoded at once

struct BlockShape {
  int columns = 0;  // of one row; a multiple of kPartColumns
  int bytes = 0;
};

constexpr BlockShape block_shape(BlockFormat format) {
  switch (format) {
    case BlockFormat::none:
      break;
    case BlockFormat::q4_0:
    case BlockFormat::iq4_nl:
      return {32, 18};
    case BlockFormat::q4_1:
      return {32, 20};
    case BlockFormat::q5_0:
      return {32, 22};
    case BlockFormat::q5_1:
      return {32, 24};
    case BlockFormat::q8_0:
      return {32, 34};
    case BlockFormat::q2_k:
      return {256, 84};
    case BlockFormat::q3_k:
      return {256, 110};
    case BlockFormat::q4_k:
      return {256, 144};
    case BlockFormat::q5_k:
      return {256, 176};
    case BlockFormat::q6_k:
      return {256, 210};
    case BlockFormat::iq4_xs:
      return {256, 136};
  }
  return {};
}

/// Codes of IQ4_NL and IQ4_XS stand for these (ggml's kvalues_iq4nl).
constexpr std::int8_t kIq4Values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                        1,    13,   25,  38,  53,  69,  89,  113};

/// fp16 widened with its NaN payload (float_from_fp16 of formats.h makes a NaN canonical).
inline float widen_fp16(std::uint16_t half) {
  const std::uint32_t sign = (half & 0x8000u) << 16;
  const std::uint32_t magnitude = half & 0x7fffu;
  const std::uint32_t subnormal =
      bits_of(static_cast<float>(static_cast<int>(magnitude)) * 0x1p-24F);
  const std::uint32_t normal = (magnitude << 13) + (112u << 23);
  const std::uint32_t special = (magnitude << 13) | 0x7f800000u;
  const std::uint32_t finite = magnitude < 0x0400u ? subnormal : normal;
  return float_of(sign | (magnitude >= 0x7c00u ? special : finite));
}

/// Columns [32 * part, 32 * part + 32) of a block.
/// REQUIRES: format is not none, part < columns / 32, block has all its bytes.
void block_part(BlockFormat format, const std::byte* block, int part, float* out);

}  // namespace isobit
