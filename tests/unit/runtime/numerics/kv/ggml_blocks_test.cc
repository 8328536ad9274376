// Tiles of ggml's 4- and 5-bit blocks and of iq4_nl: ggml's bytes for values made by hand, ties,
// zeros, subnormals, and what is no number.
#include "runtime/numerics/kv/ggml_blocks.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstddef>

#include "runtime/numerics/blocks.h"
#include "runtime/numerics/kv/codecs.h"

namespace isobit {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr KvCodecKind kKinds[] = {KvCodecKind::q4_0, KvCodecKind::q4_1, KvCodecKind::q5_0,
                                  KvCodecKind::q5_1, KvCodecKind::iq4_nl};

using Values = std::array<float, 32>;

struct Coded {
  std::vector<std::uint8_t> bytes;
  Values values;
  [[nodiscard]] int field(std::size_t at) const { return bytes[at] | bytes[at + 1] << 8; }
};

template <class T = float>
Coded coded(KvCodecKind kind, const std::array<T, 32>& x, std::int64_t stride = 1) {
  const KvCodec made = make_codec(kind, Format::f32);
  alignas(8) std::uint8_t tile[32];
  std::fill(std::begin(tile), std::end(tile), std::uint8_t(0xee));
  std::vector<T> spread(std::size_t(32 * stride), T(1e9));
  for (std::size_t i = 0; i < 32; ++i) spread[i * std::size_t(stride)] = x[i];
  Coded out;
  with_codec(made, [&](const auto& codec) {
    codec.encode(spread.data(), 0, stride, tile);
    const auto read = codec.template open<T>(tile);
    for (int i = 0; i < 32; ++i) out.values[std::size_t(i)] = float(read.at(0, i));
    if constexpr (requires(std::int8_t * memory) { codec.template group<T>(tile, memory); }) {
      std::int8_t memory[32];
      const auto all = codec.template group<T>(tile, memory);
      for (int i = 0; i < 32; ++i) {
        const T value = fma_(T(all.codes[i]), all.scale, all.low);
        EXPECT_TRUE(same_bits(canonical(value), canonical(read.at(0, i)))) << i;
      }
    }
  });
  out.bytes.assign(tile, tile + made.bytes);
  for (const std::uint8_t* byte = tile + made.bytes; byte < std::end(tile); ++byte) {
    EXPECT_EQ(*byte, 0xee) << "wrote past the tile";
  }
  return out;
}

Values ramp() {
  Values x{};
  for (std::size_t i = 0; i < 32; ++i) x[i] = std::sin(float(i) * 1.7f) * 3.0f;
  return x;
}

/// What a checkpoint's decoder makes of the same bytes, and which format that is.
Values as_weights(KvCodecKind kind, const Coded& c) {
  const BlockFormat formats[] = {BlockFormat::q4_0, BlockFormat::q4_1, BlockFormat::q5_0,
                                 BlockFormat::q5_1, BlockFormat::iq4_nl};
  Values out{};
  for (std::size_t i = 0; i < std::size(kKinds); ++i) {
    if (kKinds[i] != kind) continue;
    EXPECT_EQ(block_shape(formats[i]).bytes, int(c.bytes.size()));
    block_part(formats[i], reinterpret_cast<const std::byte*>(c.bytes.data()), 0, out.data());
  }
  return out;
}

TEST(GgmlTile, DecodesAsAWeightOfTheSameFormat) {
  for (const KvCodecKind kind : kKinds) {
    for (const float scale : {1.0f, 1e-6f, 3e4f}) {
      Values x = ramp();
      for (float& value : x) value *= scale;
      const Coded c = coded(kind, x);
      const Values weights = as_weights(kind, c);
      for (std::size_t i = 0; i < 32; ++i) {
        ASSERT_TRUE(same_bits(c.values[i], weights[i])) << int(kind) << " " << i;
      }
    }
  }
}

TEST(GgmlTile, IsTheBlockOfTheTable) {
  const int bytes[] = {18, 20, 22, 24, 18};
  for (std::size_t i = 0; i < std::size(kKinds); ++i) {
    const KvCodec made = make_codec(kKinds[i], Format::bf16);
    EXPECT_EQ(made.kind, kKinds[i]);
    EXPECT_EQ(made.tokens, 1);
    EXPECT_EQ(made.channels, 32);
    EXPECT_EQ(made.bytes, bytes[i]);
  }
}

/// The first of the largest decides the sign of the scale: it becomes the code 0.
TEST(GgmlTile, Q4Values) {
  Values x{};
  x[3] = 8.0f, x[9] = -8.0f;  // d = -1
  x[0] = 0.5f, x[1] = -0.5f, x[2] = 1.5f, x[17] = -6.5f, x[18] = -7.5f;
  const Coded c = coded(KvCodecKind::q4_0, x);
  EXPECT_EQ(c.field(0), 0xbc00);
  const auto code = [&](std::size_t i) { return c.bytes[2 + i % 16] >> (i / 16 * 4) & 15; };
  EXPECT_EQ(code(3), 0);
  EXPECT_EQ(code(9), 15) << "8 + 8 is past the codes";
  EXPECT_EQ(code(0), 8) << "-0.5 + 8.5";
  EXPECT_EQ(code(1), 9) << "a half goes up";
  EXPECT_EQ(code(2), 7);
  EXPECT_EQ(code(17), 15);
  EXPECT_EQ(code(18), 15);
  EXPECT_EQ(code(5), 8);
  EXPECT_EQ(c.values[3], 8.0f);
  EXPECT_EQ(c.values[9], -7.0f);
  EXPECT_EQ(c.values[5], 0.0f);
}

TEST(GgmlTile, Q4WithAMinimum) {
  Values x{};
  x.fill(2.0f);
  x[0] = 17.0f;  // d = 1, m = 2
  x[1] = 2.5f, x[2] = 3.49f, x[20] = 9.5f;
  const Coded c = coded(KvCodecKind::q4_1, x);
  EXPECT_EQ(c.field(0), 0x3c00);
  EXPECT_EQ(c.field(2), 0x4000);
  EXPECT_EQ(c.values[0], 17.0f);
  EXPECT_EQ(c.values[1], 3.0f) << "a half goes up";
  EXPECT_EQ(c.values[2], 3.0f);
  EXPECT_EQ(c.values[20], 10.0f);
  EXPECT_EQ(c.values[31], 2.0f);
}

TEST(GgmlTile, FifthBits) {
  Values x{};
  for (std::size_t i = 0; i < 32; ++i) x[i] = float(i) - 16.0f;  // d = 1: code i
  const Coded c = coded(KvCodecKind::q5_0, x);
  EXPECT_EQ(c.field(0), 0x3c00);
  EXPECT_EQ(c.field(2), 0x0000);
  EXPECT_EQ(c.field(4), 0xffff) << "elements 16 to 31";
  for (std::size_t i = 0; i < 32; ++i) EXPECT_EQ(c.values[i], x[i]);
  for (float& value : x) value += 20.0f;
  const Coded with_minimum = coded(KvCodecKind::q5_1, x);
  EXPECT_EQ(with_minimum.field(2), 0x4400);
  EXPECT_EQ(with_minimum.field(4), 0x0000);
  EXPECT_EQ(with_minimum.field(6), 0xffff);
  for (std::size_t i = 0; i < 32; ++i) EXPECT_EQ(with_minimum.values[i], x[i]);
}

TEST(GgmlTile, ConstantsAndZeros) {
  for (const KvCodecKind kind : kKinds) {
    Values x{};
    x[5] = -0.0f;
    const Coded zeros = coded(kind, x);
    EXPECT_EQ(zeros.field(0), kind == KvCodecKind::q4_0 || kind == KvCodecKind::q5_0 ? 0x8000 : 0)
        << "0 / -8";
    for (const float value : zeros.values) EXPECT_EQ(value, 0.0f);
    x.fill(-3.25f);
    for (const float value : coded(kind, x).values) EXPECT_NEAR(value, -3.25f, 0.002f);
  }
}

/// Where a scale has no inverse or is nothing as fp16 the codes are those of zero, or defined.
TEST(GgmlTile, TinyBlocks) {
  for (const KvCodecKind kind : kKinds) {
    for (const float largest : {0x1p-149f, 0x1p-140f, 0x1.8p-125f, 0x1p-60f, 0x1p-40f}) {
      Values x{};
      x[0] = largest, x[1] = -largest;
      for (const float value : coded(kind, x).values) EXPECT_EQ(value, 0.0f) << largest;
    }
  }
}

TEST(GgmlTile, WhatIsNoNumberMakesTheBlockNaN) {
  const float nan = float_of(0x7fc00000u), signalling = float_of(0x7fa00001u);
  for (const KvCodecKind kind : kKinds) {
    for (const float bad : {kInf, -kInf, nan, signalling}) {
      for (const std::size_t where : {std::size_t(0), std::size_t(31)}) {
        Values x = ramp();
        x[where] = bad;
        const Coded c = coded(kind, x);
        EXPECT_EQ(c.field(0), 0x7e00);
        for (const float value : c.values) EXPECT_TRUE(is_nan(value));
        Values other = ramp();
        other[3] = 100.0f, other[where] = bad;
        EXPECT_EQ(c.bytes, coded(kind, other).bytes) << "one NaN block";
      }
    }
  }
}

/// ggml stores an infinite scale where fp16 ends.
TEST(GgmlTile, ScalesPastFp16AreInfinite) {
  Values x{};
  x[0] = 0x1p24f;
  EXPECT_EQ(coded(KvCodecKind::q4_0, x).field(0), 0xfc00);
  EXPECT_EQ(coded(KvCodecKind::q5_1, x).field(0), 0x7c00);
  EXPECT_EQ(coded(KvCodecKind::iq4_nl, x).field(0), 0xfc00);
}

TEST(GgmlTile, StridesAreFollowedAndFp64IsRoundedFirst) {
  for (const KvCodecKind kind : kKinds) {
    std::array<double, 32> x{};
    Values narrow{};
    for (std::size_t i = 0; i < 32; ++i) {
      x[i] = std::sin(double(i) * 1.7) * (1 + 0x1p-26);
      narrow[i] = float(x[i]);
    }
    const Coded wide = coded(kind, x, 3), single = coded(kind, narrow);
    EXPECT_EQ(wide.bytes, single.bytes);
    EXPECT_EQ(wide.values, single.values);
    x[5] = 1e300;  // infinite as fp32
    EXPECT_EQ(coded(kind, x).field(0), 0x7e00);
  }
}

/// The codes are those of the first scale, the scale stored is the one that fits them.
TEST(Iq4Tile, FitsItsScale) {
  Values x{};
  x[0] = -12.7f;  // codes of x * 10
  x[1] = 1.3f, x[2] = 11.3f, x[3] = 0.0f, x[4] = 0.7f, x[5] = -11.55f, x[16] = 0.1f;
  const Coded c = coded(KvCodecKind::iq4_nl, x);
  const auto code = [&](std::size_t i) { return c.bytes[2 + i % 16] >> (i / 16 * 4) & 15; };
  EXPECT_EQ(code(0), 0);
  EXPECT_EQ(code(1), 9);
  EXPECT_EQ(code(2), 15);
  EXPECT_EQ(code(3), 8);
  EXPECT_EQ(code(16), 8);
  EXPECT_EQ(code(4), 9) << "7 lies between 1 and 13: the greater of equals";
  double dot = 0, norm = 0;
  for (std::size_t i = 0; i < 32; ++i) {
    const double q = kIq4Values[code(i)], weight = double(x[i]) * double(x[i]);
    dot += weight * q * double(x[i]);
    norm += weight * q * q;
  }
  EXPECT_EQ(c.field(0), fp16_from_float(float(dot / norm)));
  EXPECT_EQ(c.values[2], float_from_fp16(std::uint16_t(c.field(0))) * 113.0f);
}

TEST(Iq4Tile, BelowItsThresholdIsZero) {
  Values x{};
  x[7] = 0.999e-15f;
  const Coded none = coded(KvCodecKind::iq4_nl, x);
  EXPECT_EQ(none.field(0), 0);
  for (std::size_t i = 2; i < 18; ++i) EXPECT_EQ(none.bytes[i], 0x88);
  for (const float value : none.values) EXPECT_TRUE(same_bits(value, 0.0f));
  x[7] = 1.001e-15f;
  const Coded some = coded(KvCodecKind::iq4_nl, x);
  EXPECT_EQ(some.bytes[2 + 7] & 15, 0) << "as a code, but nothing as fp16";
}

}  // namespace
}  // namespace isobit
