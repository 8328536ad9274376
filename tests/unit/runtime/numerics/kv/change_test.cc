// Bits that are cut off and noise that is drawn by meaning, value by value.
#include "runtime/numerics/kv/change.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <set>
#include <vector>

namespace isobit {
namespace {

KvChange bits(int n, bool nearest, Format stored) {
  KvChange change;
  change.kind = KvChange::Kind::bits;
  change.bits = n, change.nearest = nearest, change.stored = stored;
  return change;
}
KvChange noise(KvChange::Kind kind, double a, double b, std::uint64_t seed = 0) {
  KvChange change;
  change.kind = kind;
  change.a = a, change.b = b, change.seed = seed;
  return change;
}
float kept(const KvChange& change, float x) {
  return changed(change, {}, 0, 0, x);
}

TEST(KvBits, DownClearsAndNearestRoundsHalvesToEven) {
  const KvChange down = bits(2, false, Format::f32), nearest = bits(2, true, Format::f32);
  EXPECT_EQ(kept(down, 1.99f), 1.75f);
  EXPECT_EQ(kept(down, -1.99f), -1.75f) << "toward zero";
  EXPECT_EQ(kept(nearest, 1.99f), 2.0f) << "a carry reaches the exponent";
  EXPECT_EQ(kept(nearest, 1.125f), 1.0f) << "a half to the even neighbour below";
  EXPECT_EQ(kept(nearest, 1.375f), 1.5f) << "and above";
  EXPECT_EQ(kept(nearest, std::nextafter(1.125f, 2.0f)), 1.25f);
  EXPECT_EQ(kept(bits(0, true, Format::f32), 1.5f), 2.0f);
  EXPECT_TRUE(std::signbit(kept(down, -0.0f)));
}

TEST(KvBits, ThePatternIsThatOfR) {
  EXPECT_EQ(kept(bits(3, false, Format::bf16), 1.9921875f), 1.875f);
  // A subnormal of fp16 has fewer fraction bits than the same number in fp32.
  const float least = 0x1p-24f;
  EXPECT_EQ(kept(bits(9, false, Format::fp16), 3 * least), 2 * least);
  EXPECT_EQ(kept(bits(9, false, Format::fp16), least), 0.0f);
  EXPECT_EQ(changed(bits(51, false, Format::f64), {}, 0, 0, 1.0 + 0x1p-52), 1.0);
  const float infinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(kept(bits(2, true, Format::fp16), 65504.0f), infinity) << "rounded past the largest";
  EXPECT_EQ(kept(bits(2, false, Format::fp16), -infinity), -infinity);
  EXPECT_EQ(bits_of(kept(bits(2, true, Format::bf16), float_of(0xffc12345u))), 0x7fc00000u);
}

TEST(KvBits, AllBitsAreTheIdentity) {
  for (const auto& [n, stored] : {std::pair{7, Format::bf16}, std::pair{10, Format::fp16},
                                  std::pair{23, Format::f32}, std::pair{52, Format::bf16}}) {
    for (std::uint32_t u = 1; u < 0x7f800000u; u += 0x00310307u) {
      const float x = round_to(stored, float_of(u));
      ASSERT_TRUE(same_bits(kept(bits(n, true, stored), x), x)) << u;
    }
  }
}

TEST(KvNoise, OfNothingIsTheIdentity) {
  const KvChange none = noise(KvChange::Kind::normal, 0, 0);
  for (const float x : {1.0f, -0.0f, std::numeric_limits<float>::infinity()}) {
    EXPECT_TRUE(same_bits(kept(none, x), x));
  }
}

TEST(KvNoise, DependsOnWhatTheValueIs) {
  const KvChange change = noise(KvChange::Kind::uniform, -1, 1);
  const auto draw = [&](int layer, int head, bool keys, std::int64_t position, int channel,
                        std::uint64_t seed = 0) {
    KvChange seeded = change;
    seeded.seed = seed;
    return noise_of(seeded, {layer, head, keys}, position, channel);
  };
  const std::set<double> different = {draw(0, 0, true, 0, 0),   draw(1, 0, true, 0, 0),
                                      draw(0, 1, true, 0, 0),   draw(0, 0, false, 0, 0),
                                      draw(0, 0, true, 1, 0),   draw(0, 0, true, 0, 1),
                                      draw(0, 0, true, 0, 0, 1)};
  EXPECT_EQ(different.size(), 7u);
}

TEST(KvNoise, HasItsMomentsAndItsInterval) {
  const KvChange uniform = noise(KvChange::Kind::uniform, -1.5, 1.5);
  const KvChange normal = noise(KvChange::Kind::normal, 0.25, 0.5);
  double sums[2] = {}, squares[2] = {};
  constexpr int kDraws = 200000;
  for (int i = 0; i < kDraws; ++i) {
    const double u = noise_of(uniform, {}, i, i % 64), n = noise_of(normal, {}, i, i % 64);
    ASSERT_TRUE(u > -1.5 && u < 1.5);
    sums[0] += u, squares[0] += u * u, sums[1] += n, squares[1] += n * n;
  }
  const auto deviation = [&](int i) {
    const double mean = sums[i] / kDraws;
    return std::sqrt(squares[i] / kDraws - mean * mean);
  };
  // Four standard errors of mean and deviation.
  EXPECT_NEAR(sums[0] / kDraws, 0, 4 * 0.866 / std::sqrt(kDraws));
  EXPECT_NEAR(deviation(0), 0.8660, 4 * 0.866 / std::sqrt(2.0 * kDraws));
  EXPECT_NEAR(sums[1] / kDraws, 0.25, 4 * 0.5 / std::sqrt(kDraws));
  EXPECT_NEAR(deviation(1), 0.5, 4 * 0.5 / std::sqrt(2.0 * kDraws));
}

TEST(KvNoise, KeepsTheSignWhereAsked) {
  KvChange change = noise(KvChange::Kind::normal, 0, 2);
  int turned = 0;
  for (int i = 0; i < 1000; ++i) {
    change.keep_sign = false;
    turned += changed(change, {}, i, 0, -1.0f) > 0 ? 1 : 0;
    change.keep_sign = true;
    ASSERT_LT(changed(change, {}, i, 0, -1.0f), 0.0f) << i;
  }
  EXPECT_GT(turned, 100);
}

TEST(KvNoise, LogNormalHasItsMomentsAndTurnsNoSign) {
  KvChange change;
  set_lognormal(change, 0.5);
  constexpr int kDraws = 200000;
  double sum = 0, squares = 0;
  for (int i = 0; i < kDraws; ++i) {
    const double e = noise_of(change, {}, i, i % 64);
    ASSERT_GT(e, -1.0);
    sum += e, squares += e * e;
  }
  const double mean = sum / kDraws, deviation = std::sqrt(squares / kDraws - mean * mean);
  EXPECT_NEAR(mean, 0, 4 * 0.5 / std::sqrt(kDraws));
  // Four standard errors of a deviation whose kurtosis is that of the log-normal: 8.0 - 3 above.
  EXPECT_NEAR(deviation, 0.5, 4 * 0.5 * std::sqrt((8.0 - 1) / 4 / kDraws));
}

TEST(KvNoise, IsRoundedToR) {
  KvChange change = noise(KvChange::Kind::uniform, 0.1, 0.1);
  change.stored = Format::bf16;
  const float product = 1.0f * 0.1f;
  EXPECT_EQ(kept(change, 1.0f), round_to(Format::bf16, 1.0f + product));
}

}  // namespace
}  // namespace isobit
