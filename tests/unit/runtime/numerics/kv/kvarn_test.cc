// KVarN's tiles: the record's bytes, the balance against a restatement with libm, rounding and
// fields for tiles made by hand, and what is no number.
#include "runtime/numerics/kv/kvarn.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "runtime/numerics/kv/codecs.h"

namespace isobit {
namespace {

template <class T>
std::vector<T> random_tile(int size, std::uint64_t seed) {
  std::mt19937_64 random{seed};
  std::vector<T> x(static_cast<std::size_t>(size));
  for (T& value : x) value = T(double(std::int64_t(random() >> 11)) * 0x1p-52 - 1.0);
  return x;
}

/// Encodes x (tokens, channels), decodes it, and looks for bytes written past the tile.
template <bool kKeys, class T>
std::vector<T> through(const KvCodec& made, const std::vector<T>& x,
                       std::vector<std::uint8_t>* bytes = nullptr) {
  const Kvarn<kKeys> codec(made);
  std::vector<std::uint64_t> memory(std::size_t(made.bytes) / 8 + 2, 0xeeeeeeeeeeeeeeeeu);
  auto* const tile = reinterpret_cast<std::uint8_t*>(memory.data());
  codec.encode(x.data(), made.channels, 1, tile);
  EXPECT_EQ(tile[made.bytes], 0xee) << "wrote past the tile";
  std::vector<T> out(x.size());
  const auto read = codec.template open<T>(tile);
  for (int i = 0; i < int(x.size()); ++i) {
    out[std::size_t(i)] = read.at(i / made.channels, i % made.channels);
  }
  if (bytes != nullptr) bytes->assign(tile, tile + made.bytes);
  return out;
}

TEST(KvarnTile, BytesAreThePublishedRecords) {
  const KvCodec keys = Kvarn<true>::make(Format::fp16, 128, 128, 4, 8);
  const KvCodec values = Kvarn<false>::make(Format::bf16, 128, 128, 2, 8);
  EXPECT_EQ(keys.bytes + values.bytes, 13824);
  EXPECT_EQ(Kvarn<true>::make(Format::bf16, 64, 256, 4, 8).bytes, 64 * 256 / 2 + 2 * (512 + 64));
  EXPECT_EQ(Kvarn<false>::make(Format::f32, 64, 256, 2, 8).bytes, 64 * 256 / 4 + 4 * (256 + 128));
  EXPECT_EQ(Kvarn<true>::make(Format::f64, 32, 32, 4, 8).bytes, 512 + 8 * 96);
}

/// Without iterations a tile is rounded as it is: halves, then fields in their order.
TEST(KvarnTile, RowsOfKeysAreChannels) {
  const KvCodec made = Kvarn<true>::make(Format::f32, 32, 8, 2, 0);
  std::vector<float> x(32 * 8, 0.0f);  // (tokens, channels)
  const auto at = [&](int token, int channel) -> float& {
    return x[std::size_t(token * 8 + channel)];
  };
  for (int c = 0; c < 8; ++c) at(31, c) = 3.0f * float(c + 1);  // step c + 1
  at(0, 2) = 1.5f, at(1, 2) = 4.5f, at(2, 2) = 7.5f;            // halves of step 3: to even
  std::vector<std::uint8_t> bytes;
  const std::vector<float> values = through<true>(made, x, &bytes);
  EXPECT_EQ(values[std::size_t(0 * 8 + 2)], 0.0f);
  EXPECT_EQ(values[std::size_t(1 * 8 + 2)], 6.0f);
  EXPECT_EQ(values[std::size_t(2 * 8 + 2)], 6.0f);
  EXPECT_EQ(values[std::size_t(31 * 8 + 5)], 18.0f);
  EXPECT_EQ(bytes[2 * 8], 0x28) << "channel 2, tokens 0 to 3: 0, 2, 2, 0, low bits first";
  float a[8], s[32];
  std::memcpy(a, bytes.data() + 64, sizeof a);
  std::memcpy(s, bytes.data() + 64 + 2 * sizeof a, sizeof s);
  for (int c = 0; c < 8; ++c) EXPECT_EQ(a[c], float(c + 1));
  for (const float one : s) EXPECT_EQ(one, 1.0f);
}

TEST(KvarnTile, RowsOfValuesAreTokens) {
  const KvCodec made = Kvarn<false>::make(Format::f32, 32, 8, 2, 0);
  std::vector<float> x(32 * 8, 1.0f);
  for (int t = 0; t < 32; ++t) x[std::size_t(t * 8 + 7)] = 1.0f + 3.0f * float(t + 1);
  std::vector<std::uint8_t> bytes;
  const std::vector<float> values = through<false>(made, x, &bytes);
  EXPECT_EQ(values, x);
  EXPECT_EQ(bytes[1], 0xc0) << "token 0, channel 7";
  float s[8], a[32], z[32];
  std::memcpy(s, bytes.data() + 64, sizeof s);
  std::memcpy(a, bytes.data() + 64 + sizeof s, sizeof a);
  std::memcpy(z, bytes.data() + 64 + sizeof s + sizeof a, sizeof z);
  for (const float one : s) EXPECT_EQ(one, 1.0f);
  for (int t = 0; t < 32; ++t) EXPECT_EQ(a[t], float(t + 1));
  for (const float one : z) EXPECT_EQ(one, 1.0f);
}

TEST(KvarnTile, StridesAreFollowed) {
  const KvCodec made = Kvarn<true>::make(Format::f32, 32, 16, 4, 4);
  const std::vector<float> dense = random_tile<float>(32 * 16, 3);
  std::vector<float> spread(32 * 50, 1e9f);
  for (int t = 0; t < 32; ++t) {
    for (int c = 0; c < 16; ++c) {
      spread[std::size_t(t * 50 + c)] = dense[std::size_t(t * 16 + c)];
    }
  }
  std::vector<std::uint8_t> want;
  through<true>(made, dense, &want);
  std::vector<std::uint64_t> memory(std::size_t(made.bytes + 7) / 8);
  auto* const tile = reinterpret_cast<std::uint8_t*>(memory.data());
  Kvarn<true>(made).encode(spread.data(), 50, 1, tile);
  EXPECT_TRUE(std::equal(want.begin(), want.end(), tile));
}

struct Restated {
  std::vector<double> rows, columns;
  double imbalance;
};

/// The steps of the page with libm, in double.
Restated restated(const std::vector<double>& tile, int rows, int columns, int iterations) {
  std::vector<double> x = tile, row_log(std::size_t(rows), 0), column_log(std::size_t(columns), 0);
  const auto deviation = [&](int n, int first, int step) {
    double mean = 0, sum = 0;
    for (int i = 0; i < n; ++i) mean += x[std::size_t(first + i * step)] / n;
    for (int i = 0; i < n; ++i) sum += std::pow(x[std::size_t(first + i * step)] - mean, 2);
    return std::sqrt(sum / (n - 1));
  };
  const auto spread = [&](int lines, int between, int n, int step) {
    double low = HUGE_VAL, high = 0;
    for (int l = 0; l < lines; ++l) {
      low = std::min(low, deviation(n, l * between, step));
      high = std::max(high, deviation(n, l * between, step));
    }
    return high / std::max(low, 1e-8);
  };
  const auto imbalance = [&] {
    return spread(columns, 1, rows, columns) + spread(rows, columns, columns, 1);
  };
  const auto divide = [&] {
    for (int i = 0; i < rows * columns; ++i) {
      x[std::size_t(i)] = tile[std::size_t(i)] / std::exp(column_log[std::size_t(i % columns)]) /
                          std::exp(row_log[std::size_t(i / columns)]);
    }
  };
  const auto adjusted = [](double log, double by) {
    return std::clamp(log + std::log(std::clamp(by, 1e-3, 1e3)), -0.3, 10.0);
  };
  Restated best{std::vector<double>(std::size_t(rows), 1),
                std::vector<double>(std::size_t(columns), 1), imbalance()};
  for (int i = 0; i < iterations; ++i) {
    for (int c = 0; c < columns; ++c) {
      double& log = column_log[std::size_t(c)];
      log = adjusted(log, deviation(rows, c, columns));
    }
    divide();
    for (int r = 0; r < rows; ++r) {
      double& log = row_log[std::size_t(r)];
      log = adjusted(log, deviation(columns, r * columns, 1));
    }
    divide();
    if (imbalance() > best.imbalance) continue;
    best.imbalance = imbalance();
    for (int r = 0; r < rows; ++r) best.rows[std::size_t(r)] = std::exp(row_log[std::size_t(r)]);
    for (int c = 0; c < columns; ++c) {
      best.columns[std::size_t(c)] = std::exp(column_log[std::size_t(c)]);
    }
  }
  return best;
}

template <class T>
void expect_near(const std::vector<double>& want, const std::vector<T>& got, double relative) {
  ASSERT_EQ(want.size(), got.size());
  for (std::size_t i = 0; i < want.size(); ++i) {
    ASSERT_NEAR(want[i], double(got[i]), want[i] * relative) << i;
  }
}

/// Rows and columns of very different sizes come together. The first steps improve clearly, so that
/// rounding cannot choose another one.
TEST(KvarnBalance, FollowsTheFormula) {
  for (const auto& [rows, columns] : {std::pair{24, 40}, std::pair{40, 24}}) {
    std::vector<double> tile = random_tile<double>(rows * columns, 11);
    for (int i = 0; i < rows * columns; ++i) {
      tile[std::size_t(i)] *= std::exp2(i / columns % 5) * std::exp2(i % columns % 7);
    }
    std::vector<float> narrow(tile.begin(), tile.end());
    for (const int iterations : {0, 1, 2}) {
      const Restated want = restated(tile, rows, columns, iterations);
      const auto wide = Balance<double>(tile, rows, columns).scales(iterations);
      expect_near(want.rows, wide.rows, 1e-13);
      expect_near(want.columns, wide.columns, 1e-13);
      const auto single = Balance<float>(narrow, rows, columns).scales(iterations);
      expect_near(want.rows, single.rows, 1e-5);
      expect_near(want.columns, single.columns, 1e-5);
    }
    EXPECT_LT(restated(tile, rows, columns, 2).imbalance,
              restated(tile, rows, columns, 0).imbalance / 10);
  }
}

/// Logarithms of scales stay in [-0.3, 10].
TEST(KvarnBalance, IsBounded) {
  std::vector<float> tile = random_tile<float>(32 * 32, 5);
  for (float& value : tile) value *= 1e-4f;
  const auto small = Balance<float>(tile, 32, 32).scales(3);
  for (float& value : tile) value *= 1e12f;
  const auto large = Balance<float>(tile, 32, 32).scales(3);
  for (const float scale : small.columns) EXPECT_TRUE(scale == 1.0f || scale == exp_(-0.3f));
  for (const float scale : large.columns) EXPECT_LE(scale, exp_(10.0f));
}

/// Equal imbalances take the later scales: a tile whose rows and columns are all alike has the same
/// one in each step.
TEST(KvarnBalance, TheLatestOfEquals) {
  std::vector<float> tile(16 * 16);
  for (int i = 0; i < 256; ++i) tile[std::size_t(i)] = (i / 16 + i) % 2 == 0 ? 4.0f : -4.0f;
  const auto none = Balance<float>(tile, 16, 16).scales(0);
  const auto some = Balance<float>(tile, 16, 16).scales(1);
  EXPECT_EQ(none.columns[0], 1.0f);
  EXPECT_GT(some.columns[0], 4.0f);
}

TEST(KvarnTile, WhatIsNoNumberMakesTheTileNaN) {
  for (const float bad : {float_of(0x7fc00000u), float_of(0x7f800000u), float_of(0xff800000u)}) {
    for (const Format stored : {Format::f32, Format::fp16}) {
      std::vector<float> x = random_tile<float>(32 * 16, 9);
      x[77] = bad;
      std::vector<std::uint8_t> bytes, others;
      for (const float value : through<true>(Kvarn<true>::make(stored, 32, 16, 4, 8), x, &bytes)) {
        EXPECT_TRUE(is_nan(value));
      }
      std::vector<float> other = random_tile<float>(32 * 16, 10);
      other[3] = bad;
      through<true>(Kvarn<true>::make(stored, 32, 16, 4, 8), other, &others);
      EXPECT_EQ(bytes, others) << "one NaN tile";
      for (const float value : through<false>(Kvarn<false>::make(stored, 32, 16, 2, 8), x)) {
        EXPECT_TRUE(is_nan(value));
      }
    }
  }
}

/// Numbers past fp16 make their row NaN, and no other.
TEST(KvarnTile, NumbersPastTheirTypeMakeTheRowNaN) {
  std::vector<float> x = random_tile<float>(32 * 16, 12);
  for (int t = 0; t < 32; ++t) x[std::size_t(t * 16 + 5)] *= 1e6f;
  const std::vector<float> values = through<true>(Kvarn<true>::make(Format::bf16, 32, 16, 4, 0), x);
  for (int i = 0; i < 32 * 16; ++i) {
    EXPECT_EQ(is_nan(values[std::size_t(i)]), i % 16 == 5) << i;
  }
}

TEST(KvarnTile, ConstantsZerosAndSubnormals) {
  for (const float value : {0.0f, -0.0f, 2.5f, 0x1p-149f, -0x1p-24f}) {
    const std::vector<float> x(32 * 16, value);
    for (const float got : through<true>(Kvarn<true>::make(Format::f32, 32, 16, 2, 8), x)) {
      EXPECT_NEAR(got, value, 1e-6);
    }
  }
  std::vector<float> tiny = random_tile<float>(32 * 16, 13);
  for (float& value : tiny) value *= 0x1p-140f;
  for (const float got : through<false>(Kvarn<false>::make(Format::f32, 32, 16, 4, 8), tiny)) {
    EXPECT_LT(std::abs(got), 1e-9f);
  }
}

/// Half a step of its row, times the scales.
TEST(KvarnTile, ErrorsStayWithinHalfAStep) {
  const std::vector<double> x = random_tile<double>(64 * 32, 21);
  const KvCodec made = Kvarn<true>::make(Format::f64, 64, 32, 4, 8);
  const std::vector<double> values = through<true>(made, x);
  double worst = 0;
  for (std::size_t i = 0; i < x.size(); ++i) worst = std::max(worst, std::abs(values[i] - x[i]));
  EXPECT_LT(worst, 0.1);
  EXPECT_GT(worst, 0.01);
}

}  // namespace
}  // namespace isobit
