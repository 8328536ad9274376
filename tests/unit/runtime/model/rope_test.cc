// Rows of the RoPE tables: which there are, and what is in them.
#include "runtime/model/rope.h"

#include <gtest/gtest.h>

#include "runtime/numerics/bits.h"
#include "runtime/numerics/functions.h"
#include "tests/fakes/model.h"

namespace isobit {
namespace {

using Kind = RopeScaling::Kind;

ModelConfig config_of(Kind kind, std::int64_t original = 32) {
  ModelConfig config = fakes::worked_example();
  Rope& rope = config.ropes.front();
  rope.scaling.kind = kind;
  rope.scaling.factor = 4.0;
  rope.scaling.original_context = original;
  if (kind == Kind::longrope) {
    rope.factors.assign(8, 1.0F);
    rope.long_factors.assign(8, 2.0F);
  }
  return config;
}

using Bits = std::vector<std::uint64_t>;

Bits bits_of_all(const std::vector<double>& values) {
  Bits bits;
  for (const double value : values) bits.push_back(bits_of(value));
  return bits;
}

/// The row of the table for a position of a sequence, cosines.
std::vector<double> values_of(const ModelConfig& config, const RopeRows& rows, std::int64_t prompt,
                              std::int64_t position) {
  const RopeTables tables = make_rope_tables(config, config.ropes.front(), rows.all());
  const auto half = std::size_t(config.rotary_dims(config.ropes.front()) / 2);
  const auto at = std::size_t(rows.row(prompt, position)) * half;
  EXPECT_LE(at + half, tables.cosine.size());
  return {tables.cosine.begin() + std::ptrdiff_t(at),
          tables.cosine.begin() + std::ptrdiff_t(at + half)};
}

Bits row_of(const ModelConfig& config, const RopeRows& rows, std::int64_t prompt,
            std::int64_t position) {
  return bits_of_all(values_of(config, rows, prompt, position));
}

/// Cosines of plain RoPE at a position, the frequencies divided.
std::vector<double> plain_values(std::int64_t position, double divisor = 1.0, double base = 1e4) {
  std::vector<double> row;
  for (int i = 0; i < 8; ++i) {
    row.push_back(cos_(double(position) * (rope_inv_freq(i, 16, base) / divisor)));
  }
  return row;
}

Bits plain_row(std::int64_t position, double divisor = 1.0, double base = 1e4) {
  return bits_of_all(plain_values(position, divisor, base));
}

TEST(RopeRows, AreThePositionsWhereTheLengthMakesNoDifference) {
  const std::vector<std::int64_t> prompts = {5, 90};
  for (const Kind kind : {Kind::none, Kind::linear, Kind::llama3, Kind::yarn}) {
    RopeRows rows;
    EXPECT_TRUE(rows.extend(config_of(kind), 100, prompts));
    EXPECT_FALSE(rows.extend(config_of(kind), 64, prompts));
    EXPECT_EQ(rows.all().size(), 100U);
    for (const std::int64_t p : {0, 5, 32, 99}) EXPECT_EQ(rows.row(90, p), p);
  }
}

TEST(RopeRows, OfDynamicRopeAreMadeForEachLongPrompt) {
  const ModelConfig config = config_of(Kind::dynamic);
  RopeRows rows;
  const std::vector<std::int64_t> prompts = {90, 5, 40, 32, 90};
  EXPECT_TRUE(rows.extend(config, 100, prompts));
  EXPECT_FALSE(rows.extend(config, 100, prompts));
  EXPECT_EQ(rows.all().size(), std::size_t(100 + 40 + 90));
  EXPECT_EQ(rows.row(32, 31), 31);
  EXPECT_EQ(rows.row(40, 0), 100);
  EXPECT_EQ(rows.row(40, 39), 139);
  EXPECT_EQ(rows.row(40, 40), 40);  // generated: its own length
  EXPECT_EQ(rows.row(90, 0), 140);
  const std::vector<std::int64_t> other = {50};
  EXPECT_TRUE(rows.extend(config, 60, other));
  EXPECT_EQ(rows.positions(), 100);
  EXPECT_EQ(rows.all().size(), std::size_t(100 + 50));
}

TEST(RopeRows, OfLongropeAreTheSameForEveryLongPrompt) {
  const ModelConfig config = config_of(Kind::longrope);
  RopeRows rows;
  const std::vector<std::int64_t> prompts = {90, 40};
  EXPECT_TRUE(rows.extend(config, 100, prompts));
  EXPECT_EQ(rows.all().size(), 200U);
  EXPECT_EQ(rows.row(90, 3), 103);
  EXPECT_EQ(rows.row(40, 3), 103);
  EXPECT_EQ(row_of(config, rows, 20, 19), plain_row(19));  // short factors
  EXPECT_EQ(row_of(config, rows, 20, 31), plain_row(31));  // L is 32, the context
  EXPECT_EQ(row_of(config, rows, 20, 32), plain_row(32, 2.0));
  EXPECT_EQ(row_of(config, rows, 40, 3), plain_row(3, 2.0));
  EXPECT_TRUE(rows.extend(config, 120, prompts));
  EXPECT_EQ(rows.row(40, 3), 123);
}

TEST(RopeTables, OfDynamicRopeFollowTheLength) {
  const ModelConfig config = config_of(Kind::dynamic);
  RopeRows rows;
  const std::vector<std::int64_t> prompts = {20, 64};
  rows.extend(config, 100, prompts);
  // (4 * 64) / 32 - 3 = 5
  const double base = 1e4 * exp_((16.0 / 14.0) * log_(5.0));
  EXPECT_EQ(row_of(config, rows, 20, 31), plain_row(31));
  EXPECT_EQ(row_of(config, rows, 20, 63), plain_row(63, 1.0, base));
  EXPECT_EQ(row_of(config, rows, 64, 7), plain_row(7, 1.0, base));
  EXPECT_NE(row_of(config, rows, 64, 64), plain_row(64, 1.0, base));
}

TEST(RopeTables, AreScaledByTheAttentionFactorAndAsWideAsWhatTurns) {
  ModelConfig config = config_of(Kind::none);
  config.ropes.front().scaling.attention_factor = 1.5;
  config.ropes.front().dims = 12;
  RopeRows rows;
  rows.extend(config, 10, {});
  const RopeTables tables = make_rope_tables(config, config.ropes.front(), rows.all());
  ASSERT_EQ(tables.sine.size(), 60U);
  for (int i = 0; i < 6; ++i) {
    const double angle = 9.0 * rope_inv_freq(i, 12, 1e4);
    EXPECT_TRUE(same_bits(tables.sine[std::size_t(54 + i)], sin_(angle) * 1.5));
    EXPECT_TRUE(same_bits(tables.cosine[std::size_t(54 + i)], cos_(angle) * 1.5));
  }
}

/// Between the pairs of beta_fast and beta_slow, yarn goes from the frequency to its part.
TEST(RopeTables, OfYarnEndInBothFrequencies) {
  ModelConfig config = config_of(Kind::yarn, 1024);
  RopeRows rows;
  rows.extend(config, 4, {});
  const std::vector<double> row = values_of(config, rows, 0, 3);
  const std::vector<double> fast = plain_values(3), slow = plain_values(3, 4.0);
  EXPECT_TRUE(same_bits(row[0], fast[0]));
  EXPECT_TRUE(same_bits(row[7], slow[7]));
  EXPECT_TRUE(fast[3] < row[3] && row[3] < slow[3]);
}

/// Position times frequency and the factor, as tables were made before engines could turn
/// themselves.
TEST(RopeTables, TheUsualTurnIsTheReferences) {
  for (const Kind kind : {Kind::none, Kind::linear, Kind::yarn, Kind::longrope}) {
    ModelConfig config = config_of(kind);
    config.ropes.front().scaling.attention_factor = kind == Kind::none ? 1.0 : 0x1.3p+0;
    const Rope& rope = config.ropes.front();
    const std::vector<RopeRows::Row> rows = {{0, 1}, {7, 8}, {31, 32}};
    std::vector<RopeAngle> angles;
    const RopeTables usual = make_rope_tables(config, rope, rows);
    const RopeTables seen = make_rope_tables(config, rope, rows, [&](const RopeAngle& angle) {
      angles.push_back(angle);
      return Turn{double(angle.pair), angle.factor};
    });
    ASSERT_EQ(angles.size(), usual.cosine.size());
    ASSERT_EQ(angles.size(), 24U);
    for (std::size_t i = 0; i < angles.size(); ++i) {
      const RopeAngle& angle = angles[i];
      EXPECT_EQ(angle.position, rows[i / 8].position);
      EXPECT_EQ(angle.pair, std::int64_t(i % 8));
      EXPECT_EQ(angle.dims, 16);
      EXPECT_EQ(angle.plain, kind == Kind::none);
      const double radians = double(angle.position) * angle.frequency;
      EXPECT_TRUE(same_bits(usual.cosine[i], cos_(radians) * angle.factor)) << i;
      EXPECT_TRUE(same_bits(usual.sine[i], sin_(radians) * angle.factor)) << i;
      EXPECT_TRUE(same_bits(seen.cosine[i], double(angle.pair)));
      EXPECT_TRUE(same_bits(seen.sine[i], angle.factor));
      if (!angle.plain) continue;
      EXPECT_TRUE(same_bits(angle.frequency, rope_inv_freq(int(angle.pair), 16, rope.base)));
      EXPECT_TRUE(same_bits(angle.base, rope.base));
    }
  }
}

}  // namespace
}  // namespace isobit
