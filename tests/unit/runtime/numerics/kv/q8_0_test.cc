// q8_0's tiles: ggml's bytes for values made by hand, ties, zeros, subnormals, and what is no
// number.
#include "runtime/numerics/kv/q8_0.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>

#include "runtime/numerics/kv/codecs.h"

namespace isobit {
namespace {

struct Coded {
  std::uint16_t d;
  std::array<int, 32> codes;
  std::array<float, 32> values;
};

template <class T = float>
Coded coded(const std::array<T, 32>& x) {
  alignas(2) std::uint8_t tile[34];
  const Q8_0 codec(Q8_0::make(Format::f32));
  codec.encode(x.data(), 0, 1, tile);
  Coded out{std::uint16_t(tile[0] | tile[1] << 8), {}, {}};
  const auto read = codec.open<T>(tile);
  for (int i = 0; i < 32; ++i) {
    out.codes[std::size_t(i)] = std::int8_t(tile[2 + i]);
    out.values[std::size_t(i)] = float(read.at(0, i));
  }
  return out;
}

constexpr float kInf = std::numeric_limits<float>::infinity();

TEST(Q8Tile, IsTheBlockOfTheTable) {
  const KvCodec codec = make_codec(KvCodecKind::q8_0, Format::bf16);
  EXPECT_EQ(codec.tokens, 1);
  EXPECT_EQ(codec.channels, 32);
  EXPECT_EQ(codec.bytes, 34);
}

TEST(Q8Tile, HalvesGoAwayFromZero) {
  std::array<float, 32> x{};
  x[0] = 127.0f;  // d = 1
  x[1] = 0.5f, x[2] = -0.5f, x[3] = 1.5f, x[4] = -1.5f, x[5] = 2.5f, x[6] = -126.5f;
  x[7] = 0.49999997f, x[8] = 126.49999f;
  const Coded c = coded(x);
  EXPECT_EQ(c.d, 0x3c00);
  const std::array<int, 9> want = {127, 1, -1, 2, -2, 3, -127, 0, 126};
  for (std::size_t i = 0; i < want.size(); ++i) EXPECT_EQ(c.codes[i], want[i]) << i;
  EXPECT_EQ(c.values[6], -127.0f);
}

/// The inverse is taken of the unrounded scale: d = 1/127 is not exact, its fp16 is another number.
TEST(Q8Tile, CodesUseTheUnroundedScale) {
  std::array<float, 32> x{};
  for (std::size_t i = 0; i < 32; ++i) x[i] = (float(i) - 16.0f) / 16.0f;
  const Coded c = coded(x);
  const float d = 1.0f / 127.0f;
  EXPECT_EQ(c.d, fp16_from_float(d));
  const float inverse = 1.0f / d;
  for (std::size_t i = 0; i < 32; ++i) {
    EXPECT_EQ(c.codes[i], int(std::round(double(x[i] * inverse)))) << i;
    EXPECT_TRUE(same_bits(c.values[i], float_from_fp16(c.d) * float(c.codes[i]))) << i;
  }
}

TEST(Q8Tile, ZerosAndConstants) {
  std::array<float, 32> x{};
  x[3] = -0.0f;
  Coded c = coded(x);
  EXPECT_EQ(c.d, 0);
  for (const float value : c.values) EXPECT_TRUE(same_bits(value, 0.0f));
  x.fill(-3.25f);
  c = coded(x);
  for (const int code : c.codes) EXPECT_EQ(code, -127);
}

/// Below what fp16 or an inverse can hold the block is zero, and its codes are defined.
TEST(Q8Tile, TinyBlocksAreZero) {
  for (const float largest : {0x1p-149f, 0x1p-140f, 0x1.8p-128f, 0x1p-122f, 0x1p-40f}) {
    std::array<float, 32> x{};
    x[0] = largest, x[1] = -largest;
    const Coded c = coded(x);
    EXPECT_EQ(c.d, 0) << largest;
    const bool has_inverse = largest >= 0x1p-120f;
    EXPECT_EQ(c.codes[0], has_inverse ? 127 : 0) << largest;
    EXPECT_EQ(c.values[0], 0.0f) << largest;
  }
  std::array<float, 32> x{};
  x[0] = 0x1p-17f;  // d is a subnormal of fp16
  EXPECT_EQ(coded(x).d, fp16_from_float(0x1p-17f / 127.0f));
  EXPECT_GT(coded(x).d, 0);
}

TEST(Q8Tile, WhatIsNoNumberMakesTheBlockNaN) {
  for (const float bad : {kInf, -kInf, float_of(0x7fc00000u), float_of(0x7fa00001u)}) {
    for (const std::size_t where : {std::size_t(0), std::size_t(31)}) {
      std::array<float, 32> x{};
      x.fill(2.0f);
      x[where] = bad;
      const Coded c = coded(x);
      EXPECT_EQ(c.d, 0x7e00);
      for (std::size_t i = 0; i < 32; ++i) {
        EXPECT_EQ(c.codes[i], 0);
        EXPECT_TRUE(is_nan(c.values[i]));
      }
    }
  }
}

/// ggml stores an infinite scale where fp16 ends; zeros of such a block are NaN.
TEST(Q8Tile, ScalesPastFp16AreInfinite) {
  std::array<float, 32> x{};
  x[0] = 0x1p24f;
  const Coded c = coded(x);
  EXPECT_EQ(c.d, 0x7c00);
  EXPECT_EQ(c.codes[0], 127);
  EXPECT_EQ(c.values[0], kInf);
  EXPECT_TRUE(is_nan(c.values[1]));
}

TEST(Q8Tile, Fp64IsRoundedToFp32First) {
  std::array<double, 32> x{};
  std::array<float, 32> narrow{};
  for (std::size_t i = 0; i < 32; ++i) {
    x[i] = std::sin(double(i) * 1.7) * (1 + 0x1p-26);
    narrow[i] = float(x[i]);
  }
  const Coded wide = coded(x), single = coded(narrow);
  EXPECT_EQ(wide.d, single.d);
  EXPECT_EQ(wide.codes, single.codes);
  EXPECT_EQ(wide.values, single.values);
  x[5] = 1e300;  // infinite as fp32
  EXPECT_EQ(coded(x).d, 0x7e00);
}

}  // namespace
}  // namespace isobit
