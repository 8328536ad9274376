// Groups rounded to nearest: codes, scales and bytes against a restatement and for values made by
// hand, for every number of bits; and codes across the ends of bytes.
#include "runtime/numerics/kv/rtn.h"

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
  std::vector<std::uint8_t> bytes;
};

template <bool kAlongTokens, class T>
Coded coded(const std::vector<T>& x, Format stored, int bits, std::int64_t stride = 1) {
  const int n = int(x.size());
  const KvCodec made = Rtn<kAlongTokens>::make(stored, n, bits);
  const Rtn<kAlongTokens> codec(made);
  std::vector<T> spread(std::size_t(n * stride), T(1e9));
  for (int i = 0; i < n; ++i) spread[std::size_t(i * stride)] = x[std::size_t(i)];
  std::vector<std::uint64_t> memory(std::size_t(made.bytes) / 8 + 2, 0xeeeeeeeeeeeeeeeeu);
  auto* const tile = reinterpret_cast<std::uint8_t*>(memory.data());
  codec.encode(spread.data(), kAlongTokens ? stride : 0, kAlongTokens ? 0 : stride, tile);
  EXPECT_EQ(tile[made.bytes], 0xee) << "wrote past the tile";
  const int field = field_bytes(stored);
  Coded out{double(load_real<T>(stored, tile)),
            double(load_real<T>(stored, tile + field)),
            {},
            {},
            {tile, tile + made.bytes}};
  const auto read = codec.template open<T>(tile);
  for (int i = 0; i < n; ++i) {
    out.codes.push_back(packed_code(tile + 2 * field, i, bits));
    out.values.push_back(double(kAlongTokens ? read.at(i, 0) : read.at(0, i)));
  }
  return out;
}

TEST(PackedCodes, EveryNumberOfBitsReadsBack) {
  for (int bits = 1; bits <= 8; ++bits) {
    std::uint8_t bytes[64] = {};
    const auto code = [bits](int i) { return (i * 37 + 5) & ((1 << bits) - 1); };
    for (int i = 0; i < 50; ++i) pack_code(bytes, i, bits, code(i));
    for (int i = 0; i < 50; ++i) EXPECT_EQ(packed_code(bytes, i, bits), code(i)) << bits;
    for (int i = (50 * bits + 7) / 8; i < 64; ++i) EXPECT_EQ(bytes[i], 0) << bits;
  }
  std::uint8_t bytes[3] = {};
  for (int i = 0; i < 8; ++i) pack_code(bytes, i, 3, i);
  EXPECT_EQ(bytes[0], 0x88);  // 10 001 000
  EXPECT_EQ(bytes[1], 0xc6);  // 1 100 011 0
  EXPECT_EQ(bytes[2], 0xfa);  // 111 110 10
}

TEST(RtnTile, BytesAreWholeFields) {
  EXPECT_EQ(Rtn<true>::make(Format::fp16, 32, 4).bytes, 2 + 2 + 16);
  EXPECT_EQ(Rtn<false>::make(Format::bf16, 20, 3).bytes, 2 + 2 + 8);  // 60 bits
  EXPECT_EQ(Rtn<false>::make(Format::f32, 8, 3).bytes, 4 + 4 + 4);
  EXPECT_EQ(Rtn<true>::make(Format::f64, 8, 1).bytes, 8 + 8 + 8);
  EXPECT_EQ(Rtn<true>::make(Format::f32, 8, 1).tokens, 8);
  EXPECT_EQ(Rtn<true>::make(Format::f32, 8, 1).channels, 1);
  EXPECT_EQ(Rtn<false>::make(Format::f32, 8, 1).channels, 8);
}

TEST(RtnTile, HalvesGoToEven) {
  std::vector<float> x(32, 1.0f);
  x[31] = 16.0f;  // step 1 from 1
  x[1] = 1.5f, x[2] = 2.5f, x[3] = 3.5f, x[4] = 1.50000012f;
  const Coded c = coded<false>(x, Format::f32, 4);
  EXPECT_EQ(c.scale, 1.0);
  EXPECT_EQ(c.low, 1.0);
  EXPECT_EQ(std::vector<int>(c.codes.begin(), c.codes.begin() + 5),
            (std::vector<int>{0, 0, 2, 2, 1}));
  EXPECT_EQ(c.codes[31], 15);
  EXPECT_EQ(c.values[31], 16.0);
}

/// The step is 1/15 unrounded for the codes, in the type of R for the values.
TEST(RtnTile, CodesUseTheUnroundedStep) {
  std::vector<float> x(32, 0.0f);
  for (std::size_t i = 0; i < 32; ++i) x[i] = round_to(Format::bf16, float(i) / 31.0f);
  const Coded c = coded<true>(x, Format::bf16, 4);
  const float step = 1.0f / 15.0f;
  EXPECT_EQ(c.scale, double(round_to(Format::bf16, step)));
  for (std::size_t i = 0; i < 32; ++i) {
    EXPECT_EQ(c.codes[i], int(std::nearbyint(x[i] / step))) << i;
    EXPECT_EQ(c.values[i], double(std::fma(float(c.codes[i]), float(c.scale), 0.0f)));
  }
}

TEST(RtnTile, ConstantsAndZeros) {
  for (const float value : {0.0f, -0.0f, 3.25f, -7.5f, 0x1p-149f}) {
    const Coded c = coded<true>(std::vector<float>(16, value), Format::f32, 3);
    EXPECT_EQ(c.scale, double(1e-10f)) << "the least step";
    EXPECT_TRUE(same_bits(c.low, double(value) + 0.0)) << "-0 is stored as +0";
    for (const int code : c.codes) EXPECT_EQ(code, 0);
    for (const double each : c.values) EXPECT_TRUE(same_bits(each, double(value) + 0.0));
    const Coded half = coded<true>(std::vector<float>(16, 2.0f), Format::fp16, 3);
    EXPECT_EQ(half.scale, 0.0) << "nothing as fp16";
  }
}

TEST(RtnTile, WhatIsNoNumberMakesTheGroupNaN) {
  for (const float bad : {float_of(0x7fc00000u), kInf, -kInf}) {
    for (const std::size_t where : {std::size_t(0), std::size_t(13)}) {
      std::vector<float> x(32, 1.5f);
      x[where] = bad;
      for (const Format stored : {Format::f32, Format::bf16, Format::fp16}) {
        const Coded c = coded<false>(x, stored, 5);
        for (const int code : c.codes) EXPECT_EQ(code, 0);
        for (const double value : c.values) EXPECT_TRUE(is_nan(value));
      }
    }
  }
  // Finite, but not in the type of R, which a turned value need not fit.
  std::vector<float> x(32, -70000.0f);
  EXPECT_TRUE(is_nan(coded<false>(x, Format::fp16, 4).values[3]));
  EXPECT_FALSE(is_nan(coded<false>(x, Format::bf16, 4).values[3]));
  std::vector<float> wide(32, -3e38f);
  wide[1] = 3e38f;
  EXPECT_TRUE(is_nan(coded<false>(wide, Format::f32, 4).values[1])) << "no finite range";
}

template <class T>
Coded restated(const std::vector<T>& x, Format stored, int bits) {
  const auto [low, high] = std::minmax_element(x.begin(), x.end());
  const T least = *low + T(0), levels = T((1 << bits) - 1);
  const T step = std::max((*high - least) / levels, T(1e-10));
  const T scale = T(round_to(stored, step)), start = T(round_to(stored, least));
  Coded out{double(scale), double(start), {}, {}, {}};
  for (const T value : x) {
    out.codes.push_back(int(std::nearbyint(std::min((value - least) / step, levels))));
    out.values.push_back(double(std::fma(T(out.codes.back()), scale, start)));
  }
  return out;
}

template <class T>
void compare(Format stored, int bits) {
  std::mt19937_64 random{std::uint64_t(bits * 100 + int(stored))};
  for (int group = 0; group < 400; ++group) {
    std::vector<T> x(group % 2 == 0 ? 32 : 24);
    const double width = std::ldexp(1.0, int(random() % 24) - 15);
    for (T& value : x) {
      const double unit = double(std::int64_t(random() >> 11)) * 0x1p-52 - 1.0;
      const double at = group % 4 == 0 ? std::nearbyint(unit * 8) / 16 : unit;
      value = T(round_to(stored, T(width * at)));
    }
    const Coded want = restated(x, stored, bits);
    const Coded tokens = coded<true>(x, stored, bits, 3), channels = coded<false>(x, stored, bits);
    ASSERT_EQ(want.scale, tokens.scale);
    ASSERT_EQ(want.low, tokens.low);
    ASSERT_EQ(want.codes, tokens.codes);
    ASSERT_EQ(want.values, tokens.values);
    ASSERT_EQ(tokens.bytes, channels.bytes);
    ASSERT_EQ(want.values, channels.values);
  }
}

TEST(RtnTile, EqualsTheFormulaInEveryFormat) {
  for (int bits = 1; bits <= 8; ++bits) {
    for (const Format stored : {Format::f32, Format::bf16, Format::fp16}) {
      compare<float>(stored, bits);
    }
    compare<double>(Format::f64, bits);
  }
}

}  // namespace
}  // namespace isobit
