// Block formats against gguf-py (block_vectors.inc), and what one rounding means for them.
#include "runtime/numerics/blocks.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "runtime/base/sha256.h"
#include "runtime/numerics/formats.h"

namespace isobit {
namespace {

constexpr int kBlocks = 2048;

struct Vector {
  BlockFormat format;
  std::uint64_t seed;
  const char* sha256;
};

const Vector kVectors[] = {
#include "tests/unit/runtime/numerics/block_vectors.inc"
};

std::vector<std::byte> splitmix64(std::uint64_t seed, std::size_t size) {
  std::vector<std::byte> bytes((size + 7) / 8 * 8);
  for (std::size_t i = 0; i < bytes.size(); i += 8) {
    seed += 0x9e3779b97f4a7c15u;
    std::uint64_t z = seed;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    z = z ^ (z >> 31);
    std::memcpy(bytes.data() + i, &z, sizeof z);
  }
  bytes.resize(size);
  return bytes;
}

std::vector<float> values_of(BlockFormat format, const std::vector<std::byte>& bytes) {
  const BlockShape shape = block_shape(format);
  std::vector<float> values;
  for (std::size_t at = 0; at < bytes.size(); at += std::size_t(shape.bytes)) {
    for (int part = 0; part < shape.columns / kPartColumns; ++part) {
      float out[kPartColumns];
      block_part(format, bytes.data() + at, part, out);
      values.insert(values.end(), out, out + kPartColumns);
    }
  }
  return values;
}

TEST(Blocks, RandomBlocksHaveTheBitsOfGgufPy) {
  EXPECT_EQ(std::size(kVectors), 12u);
  for (const Vector& vector : kVectors) {
    const std::size_t size = std::size_t(kBlocks) * std::size_t(block_shape(vector.format).bytes);
    std::vector<float> values = values_of(vector.format, splitmix64(vector.seed, size));
    int numbers = 0, subnormal = 0, nans = 0;
    for (float& value : values) {
      nans += is_nan(value) ? 1 : 0;
      numbers += is_finite(value) ? 1 : 0;
      subnormal += is_finite(value) && value != 0 && std::fabs(value) < 0x1p-14F ? 1 : 0;
      value = canonical(value);
    }
    EXPECT_GT(nans, 0);
    EXPECT_GT(numbers, 1000);
    EXPECT_GT(subnormal, 0) << "no scale was subnormal in fp16";
    EXPECT_EQ(to_hex(sha256(values.data(), values.size() * sizeof(float))), vector.sha256)
        << "format " << int(vector.format);
  }
}

/// Code and scale of Q4_K by hand: the last part of a block, whose scale takes bits of two bytes.
TEST(Blocks, Q4KByHand) {
  std::vector<std::byte> block(144);
  const std::uint16_t d = fp16_from_float(0.5F), least = fp16_from_float(-2.0F);
  std::memcpy(block.data(), &d, 2);
  std::memcpy(block.data() + 2, &least, 2);
  block[4 + 3] = std::byte{2 << 6};       // scale 7, bits 4 and 5
  block[4 + 7] = std::byte{1 << 6};       // minimum 7, bits 4 and 5
  block[4 + 11] = std::byte{0x5 | 0x90};  // scale 7 and minimum 7, low bits
  block[16 + 3 * 32 + 9] = std::byte{0xc3};
  float out[kPartColumns];
  block_part(BlockFormat::q4_k, block.data(), 7, out);
  EXPECT_EQ(bits_of(out[9]), bits_of(0.5F * 37 * 12 + 2.0F * 25));
  EXPECT_EQ(bits_of(out[8]), bits_of(50.0F));
}

}  // namespace
}  // namespace isobit
