// KIVI's groups: codes, scales and bytes against a restatement, and for values made by hand.
#include "runtime/numerics/kv/kivi.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "runtime/numerics/kv/codecs.h"

namespace isobit {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

struct Coded {
  double scale, low;
  std::vector<int> codes;
  std::vector<double> values;
};

template <int kBits, bool kAlongTokens, class T>
Coded coded(const std::vector<T>& x, Format stored, std::int64_t stride = 1) {
  using Codec = Kivi<kBits, kAlongTokens>;
  const KvCodec made = Codec::make(KvCodecKind::kivi2_tokens, stored);
  const Codec codec(made);
  alignas(8) std::uint8_t tile[32];
  EXPECT_LE(made.bytes, int(sizeof tile));
  std::fill(std::begin(tile), std::end(tile), std::uint8_t(0xee));
  codec.encode(x.data(), kAlongTokens ? stride : 0, kAlongTokens ? 0 : stride, tile);
  for (std::size_t i = std::size_t(made.bytes); i < sizeof tile; ++i) {
    EXPECT_EQ(tile[i], 0xee) << "wrote past the tile";
  }
  Coded out{double(load_real<T>(stored, tile)),
            double(load_real<T>(stored, tile + field_bytes(stored))),
            {},
            {}};
  const auto read = codec.template open<T>(tile);
  for (int i = 0; i < 32; ++i) {
    const int byte = tile[2 * field_bytes(stored) + i * kBits / 8];
    out.codes.push_back(byte >> (i * kBits % 8) & Codec::kLevels);
    out.values.push_back(double(kAlongTokens ? read.at(i, 0) : read.at(0, i)));
  }
  return out;
}

TEST(KiviTile, BytesFollowTheTypeOfR) {
  const auto bytes = [](KvCodecKind kind, Format stored) { return make_codec(kind, stored).bytes; };
  EXPECT_EQ(bytes(KvCodecKind::kivi2_tokens, Format::fp16), 2 + 2 + 8);
  EXPECT_EQ(bytes(KvCodecKind::kivi2_channels, Format::bf16), 12);
  EXPECT_EQ(bytes(KvCodecKind::kivi4_tokens, Format::f32), 4 + 4 + 16);
  EXPECT_EQ(bytes(KvCodecKind::kivi4_channels, Format::f64), 8 + 8 + 16);
  const KvCodec keys = make_codec(KvCodecKind::kivi2_tokens, Format::fp16);
  EXPECT_EQ(keys.tokens, 32);
  EXPECT_EQ(keys.channels, 1);
  const KvCodec values = make_codec(KvCodecKind::kivi4_channels, Format::fp16);
  EXPECT_EQ(values.tokens, 1);
  EXPECT_EQ(values.channels, 32);
}

TEST(KiviTile, HalvesGoToEvenAndLowBitsComeFirst) {
  std::vector<float> x(32, 0.0f);
  x[31] = 3.0f;  // scale 1, low 0
  x[1] = 0.5f, x[2] = 1.5f, x[3] = 2.5f, x[4] = 1.0f, x[5] = 0.50000006f;
  const Coded c = coded<2, false>(x, Format::f32);
  EXPECT_EQ(c.scale, 1.0);
  EXPECT_EQ(c.low, 0.0);
  EXPECT_EQ(std::vector<int>(c.codes.begin(), c.codes.begin() + 6),
            (std::vector<int>{0, 0, 2, 2, 1, 1}));
  EXPECT_EQ(c.codes[31], 3);
}

TEST(KiviTile, StridesAreFollowed) {
  std::vector<float> spread(32 * 5, 1e9f), dense(32);
  for (std::size_t i = 0; i < 32; ++i) {
    dense[i] = float(i * i % 13);
    spread[i * 5] = dense[i];
  }
  for (int i = 0; i < 2; ++i) {
    const Coded want = coded<4, false>(dense, Format::f32);
    const Coded got =
        i == 0 ? coded<4, true>(spread, Format::f32, 5) : coded<4, false>(spread, Format::f32, 5);
    EXPECT_EQ(want.codes, got.codes);
    EXPECT_EQ(want.values, got.values);
  }
}

TEST(KiviTile, ConstantGroupsAreTheirMinimum) {
  for (const float value : {0.0f, -0.0f, 3.25f, -7.5f, 0x1p-149f}) {
    const Coded c = coded<2, true>(std::vector<float>(32, value), Format::f32);
    EXPECT_TRUE(same_bits(c.scale, 0.0));
    EXPECT_TRUE(same_bits(c.low, double(value) + 0.0)) << "-0 is stored as +0";
    for (const int code : c.codes) EXPECT_EQ(code, 0);
    for (const double each : c.values) EXPECT_TRUE(same_bits(each, double(value) + 0.0));
  }
  // -0 and +0 in one group: one zero, whichever came first.
  for (const bool negative_first : {false, true}) {
    std::vector<float> x(32, negative_first ? -0.0f : 0.0f);
    x[7] = negative_first ? 0.0f : -0.0f;
    const Coded c = coded<4, false>(x, Format::f32);
    EXPECT_TRUE(same_bits(c.low, 0.0));
  }
}

/// A range whose scale vanishes codes nothing; one that is a subnormal still clamps.
TEST(KiviTile, TinyRanges) {
  std::vector<float> x(32, 1.0f);
  x[3] = 1.0f + 0x1p-10f;  // 2^-10 / 3 is a normal fp16, 2^-24 / 15 is nothing
  const Coded normal = coded<2, false>(x, Format::fp16);
  EXPECT_EQ(normal.codes[3], 3);
  std::vector<float> y(32, 0.0f);
  y[3] = 0x1p-24f;
  const Coded none = coded<4, false>(y, Format::fp16);
  EXPECT_EQ(none.scale, 0.0);
  EXPECT_EQ(none.codes[3], 0);
  y[3] = 0x1.4p-22f;  // 5 units / 3 is rounded up to 2 units: 5 / 2 is coded as 2
  const Coded some = coded<2, false>(y, Format::fp16);
  EXPECT_EQ(some.scale, 0x1p-23);
  EXPECT_EQ(some.codes[3], 2);
  y[3] = 0x1p-22f;  // 4 units / 3 is rounded down to 1 unit: 4 is clamped to 3
  const Coded clamped = coded<2, false>(y, Format::fp16);
  EXPECT_EQ(clamped.codes[3], 3);
}

TEST(KiviTile, WhatIsNoNumberMakesTheGroupNaN) {
  const float nan = float_of(0x7fc00000u);
  for (const float bad : {nan, kInf, -kInf}) {
    for (const std::size_t where : {std::size_t(0), std::size_t(17)}) {
      std::vector<float> x(32, 1.5f);
      x[where] = bad;
      for (const Format stored : {Format::f32, Format::bf16, Format::fp16}) {
        const Coded c = coded<4, true>(x, stored);
        for (const int code : c.codes) EXPECT_EQ(code, 0);
        for (const double value : c.values) EXPECT_TRUE(is_nan(value));
      }
    }
  }
  // Finite values whose range is not: fp16 ends at 65504.
  std::vector<float> x(32, -60000.0f);
  x[1] = 60000.0f;
  const Coded too_wide = coded<2, false>(x, Format::fp16), fits = coded<2, false>(x, Format::bf16);
  EXPECT_TRUE(is_nan(too_wide.values[5]));
  EXPECT_FALSE(is_nan(fits.values[5]));
}

/// The formula of NUMERICS.md in double, rounded by what rounds there.
template <int kBits, class T>
Coded restated(const std::vector<T>& x, Format stored) {
  const auto r = [&](T value) { return T(round_to(stored, value)); };
  const auto [low, high] = std::minmax_element(x.begin(), x.end());
  const T least = *low + T(0), most = *high + T(0), levels = T((1 << kBits) - 1);
  Coded out{double(r(r(most - least) / levels)), double(least), {}, {}};
  for (const T value : x) {
    const T y = out.scale == 0 ? T(0) : std::min(r(r(value - least) / T(out.scale)), levels);
    out.codes.push_back(int(std::nearbyint(y)));
    out.values.push_back(double(std::fma(T(out.codes.back()), T(out.scale), least)));
  }
  return out;
}

template <int kBits, class T>
void compare(Format stored) {
  std::mt19937_64 random{std::uint64_t(kBits * 100 + int(stored))};
  constexpr int levels = (1 << kBits) - 1;
  int ties = 0;
  for (int group = 0; group < 3000; ++group) {
    std::vector<T> x(32);
    const double width = std::ldexp(1.0, int(random() % 24) - 15);
    const double middle = group % 3 == 0 ? 0 : width * double(random() % 100);
    for (T& value : x) {
      const double unit = double(std::int64_t(random() >> 11)) * 0x1p-52 - 1.0;
      // Every fourth group lies on a grid, where halves are exact.
      const double at = group % 4 == 0 ? std::nearbyint(unit * levels) / 2 : unit;
      value = T(round_to(stored, T(middle + width * at)));
    }
    const Coded want = restated<kBits>(x, stored);
    const Coded keys = coded<kBits, true>(x, stored), values = coded<kBits, false>(x, stored);
    ASSERT_EQ(want.scale, keys.scale);
    ASSERT_EQ(want.low, keys.low);
    ASSERT_EQ(want.codes, keys.codes);
    ASSERT_EQ(want.values, keys.values);
    ASSERT_EQ(want.codes, values.codes);
    ASSERT_EQ(want.values, values.values);
    for (const T value : x) {
      const double y = want.scale == 0 ? 0 : (double(value) - want.low) / want.scale;
      ties += y - std::floor(y) == 0.5 ? 1 : 0;
    }
  }
  EXPECT_GT(ties, 100);
}

TEST(KiviTile, EqualsTheFormulaInEveryFormat) {
  for (const Format stored : {Format::f32, Format::bf16, Format::fp16}) {
    compare<2, float>(stored);
    compare<4, float>(stored);
  }
  compare<2, double>(Format::f64);
  compare<4, double>(Format::f64);
}

}  // namespace
}  // namespace isobit
