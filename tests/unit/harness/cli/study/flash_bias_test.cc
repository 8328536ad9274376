// The study's lines: the bias of arXiv 2510.04212 where it should be, with its sign, gone under the
// mitigation, and the same lines for the same seed.
#include "harness/cli/study/flash_bias.h"

#include <gtest/gtest.h>

#include <cmath>

namespace isobit::study {
namespace {

const std::vector<BiasLine>& drawn_lines() {
  static const std::vector<BiasLine> lines = synthetic_bias(1, 120);
  return lines;
}

const BiasLine& line_of(const std::string& rows_are, const std::string& format,
                        const std::string& values, const std::string& maxima,
                        const std::string& mitigation, const std::string& rounded) {
  for (const BiasLine& line : drawn_lines()) {
    if (line.rows_are == rows_are && line.format == format && line.values == values &&
        line.maxima == maxima && line.mitigation == mitigation && line.rounded == rounded) {
      return line;
    }
  }
  ADD_FAILURE() << "no such line";
  return drawn_lines().front();
}

double relative(const BiasLine& line) {
  return line.output_error / line.output_size;
}

TEST(FlashBiasStudy, EveryLineIsThere) {
  EXPECT_EQ(drawn_lines().size(), 3U * 3 * 4 * 2 * 3 * 2);
  for (const BiasLine& line : drawn_lines()) EXPECT_EQ(line.rows, 120);
}

/// Two P that are 1, V of one sign in one binade: half of the sums lie between two numbers, and the
/// residue always decides for the outer one, a quarter of a step in the mean. A step is 2^-6 of
/// sums from 2 to 4, whose mean is 3.
TEST(FlashBiasStudy, RepeatedMaximaRoundAwayFromZero) {
  constexpr double kQuarterStep = 0x1p-6 / 4 / 3;
  for (const char* values : {"negative", "positive"}) {
    const double sign = values[0] == 'n' ? -1 : 1;
    const BiasLine& line = line_of("sink", "bf16", values, "2", "none", "sum");
    EXPECT_NEAR(sign * relative(line), kQuarterStep, 0.1 * kQuarterStep) << values;
    EXPECT_GT(std::abs(line.output_error), 20 * line.output_standard_error);
    EXPECT_LT(relative(line_of("sink", "bf16", values, "8", "none", "sum")) * sign,
              0.5 * kQuarterStep);
  }
  const BiasLine& mixed = line_of("sink", "bf16", "mixed", "2", "none", "sum");
  EXPECT_LT(std::abs(mixed.output_error), 4 * mixed.output_standard_error);
}

/// delta's error has the sign of dO times that of the output's: positive for negative V.
TEST(FlashBiasStudy, DeltaIsBiasedUpwards) {
  for (const char* values : {"negative", "positive"}) {
    const BiasLine& line = line_of("sink", "bf16", values, "2", "none", "sum");
    EXPECT_GT(line.delta_error, 20 * line.delta_standard_error) << values;
  }
}

TEST(FlashBiasStudy, TheMitigationTakesTheBiasAway) {
  for (const char* values : {"negative", "positive"}) {
    for (const char* maxima : {"2", "4", "8"}) {
      for (const char* mitigation : {"paper", "repository"}) {
        const BiasLine& line = line_of("sink", "bf16", values, maxima, mitigation, "sum");
        EXPECT_EQ(line.lost, 0);
        EXPECT_LT(std::abs(line.output_error), 4 * line.output_standard_error)
            << values << " " << maxima << " " << mitigation;
      }
    }
  }
}

/// Rounding the quotient, as kernels do, is not biased away from zero.
TEST(FlashBiasStudy, TheQuotientHasNoneOfIt) {
  const BiasLine& sum = line_of("sink", "bf16", "negative", "2", "none", "sum");
  const BiasLine& quotient = line_of("sink", "bf16", "negative", "2", "none", "quotient");
  EXPECT_LT(std::abs(quotient.output_error), 0.2 * std::abs(sum.output_error));
}

/// What beta costs: exp(M - 7 M) is below fp16's least number from M = 2.8 on.
TEST(FlashBiasStudy, ALargeBetaLosesRowsInFp16) {
  EXPECT_GT(line_of("sink", "fp16", "negative", "2", "paper", "sum").lost, 0);
  EXPECT_EQ(line_of("sink", "fp16", "negative", "2", "repository", "sum").lost, 0);
  EXPECT_EQ(line_of("sink", "bf16", "negative", "2", "paper", "sum").lost, 0);
}

TEST(FlashBiasStudy, DependsOnSeedAndRowsAlone) {
  const std::vector<BiasLine> first = synthetic_bias(7, 3), again = synthetic_bias(7, 3);
  const std::vector<BiasLine> other = synthetic_bias(8, 3);
  bool differs = false;
  for (std::size_t i = 0; i < first.size(); ++i) {
    EXPECT_EQ(first[i].output_error, again[i].output_error);
    EXPECT_EQ(first[i].delta_standard_error, again[i].delta_standard_error);
    differs = differs || first[i].output_error != other[i].output_error;
  }
  EXPECT_TRUE(differs);
}

TEST(FlashBiasStudy, RowsWithoutAnOutputAreInNoMean) {
  BiasTable table(64);
  BiasRow row;
  row.channels = 1;
  row.scores = {4.5f, 4.5f};
  row.values = {1.0f, 1.0f};
  table.add("test", class_of_maxima(2), {"positive"}, row);
  for (const BiasLine& line : table.lines()) {
    const bool lost = line.format == "fp16" && line.mitigation == "paper";  // exp(-27) is 0
    EXPECT_EQ(line.lost, lost ? 1 : 0) << line.format << " " << line.mitigation;
    EXPECT_EQ(line.rows, 1);
    if (lost) {
      EXPECT_EQ(line.output_error, 0.0);
    }
  }
  EXPECT_EQ(class_of_maxima(3), "3-4");
  EXPECT_EQ(class_of_maxima(9), "9 or more");
}

}  // namespace
}  // namespace isobit::study
