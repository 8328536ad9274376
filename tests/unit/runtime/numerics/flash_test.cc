// Attention over key blocks: the texts of schedules, the paper's worked example of biased rounding
// (Qiu & Yao, arXiv 2510.04212, section 3.3), its mitigation, and sums whose order shows.
#include "runtime/numerics/flash.h"

#include <gtest/gtest.h>

#include <array>
#include <string>
#include <vector>

#include "runtime/numerics/flash_text.h"

namespace isobit {
namespace {

std::string canonical_text(const std::string& text) {
  const auto parsed = parse_flash(text);
  return parsed ? parsed->text : "error: " + parsed.error().message;
}

TEST(FlashText, CanonicalTextsReadBackAsThemselves) {
  for (const char* text :
       {"flash:64", "flash:16+p:bf16", "flash:256+splits:64", "flash:64+p:fp16+splits:by_length",
        "flash:64+p:bf16+splits:2+stabilise:(beta:7)", "flash:64+stabilise:(beta:2.5)",
        "flash:32+stabilise:(beta:2+form:repository)"}) {
    EXPECT_EQ(canonical_text(text), text);
  }
  EXPECT_EQ(text_of(FlashSchedule{}), "reference");
}

TEST(FlashText, DefaultsAreLeftOutAndOrderIsFree) {
  EXPECT_EQ(canonical_text("splits:1+p:fp32+flash:64"), "flash:64");
  EXPECT_EQ(canonical_text("stabilise:(form:paper)+flash:64"), "flash:64+stabilise:(beta:7)");
  EXPECT_EQ(canonical_text("flash:64+stabilise:(form:repository)"),
            "flash:64+stabilise:(beta:2+form:repository)");
  EXPECT_EQ(canonical_text("flash:64+stabilise:(beta:7.0+form:paper)"),
            "flash:64+stabilise:(beta:7)");
}

TEST(FlashText, ErrorsSayWhatMayBe) {
  const std::pair<const char*, const char*> wrong[] = {
      {"p:bf16", "attention needs flash"},
      {"flash:8", "a power of two from 16 to 256, not \"8\""},
      {"flash:512", "a power of two from 16 to 256, not \"512\""},
      {"flash:48", "a power of two from 16 to 256, not \"48\""},
      {"flash:", "a power of two from 16 to 256"},
      {"flash:64+flash:64", "given twice"},
      {"flash:64+split:2", "did you mean \"splits\"?"},
      {"flash:64+splits:65", "from 1 to 64, or by_length"},
      {"flash:64+splits:0", "from 1 to 64, or by_length"},
      {"flash:64+splits:by_rows", "or by_length"},
      {"flash:64+p:fp8", "cannot be \"fp8\""},
      {"flash:64+stabilise:7", "unknown option \"7\" of stabilise"},
      {"flash:64+stabilise:(beta:0.5)", "below 1 the maximum falls under the scores"},
      {"flash:64+stabilise:(beta:65)", "becomes 0"},
      {"flash:64+stabilise:(beta:x)", "is a number, not \"x\""},
      {"flash:64+stabilise:(beta:nan)", "is a number, not \"nan\""},
      {"flash:64+stabilise:(form:loose)", "cannot be \"loose\""},
      {"flash:64+stabilise:(bet:7)", "did you mean \"beta\"?"}};
  for (const auto& [text, says] : wrong) {
    EXPECT_NE(canonical_text(text).find(says), std::string::npos)
        << text << ": " << canonical_text(text);
  }
}

/// One query whose scores are given, one channel.
template <class T>
T attend(const FlashRule& rule, const std::vector<T>& scores, const std::vector<T>& values,
         FlashState<T>& state) {
  const T q = T(1);
  T o = T(0);
  EXPECT_TRUE(flash_split(
      rule, &q, 1, T(1), T(0), 0, std::int64_t(scores.size()) - 1,
      [](std::int64_t) { return true; },
      [&](std::int64_t j, int) { return scores[std::size_t(j)]; },
      [&](std::int64_t j, int) { return values[std::size_t(j)]; }, state, &o));
  return o;
}

/// Two P are 1, their V sum to the middle of two bf16 numbers, and a small residue decides: always
/// away from zero.
TEST(FlashBias, TheWorkedExample) {
  FlashRule rule;
  rule.p = Format::bf16;
  const std::vector<float> values = {-2.34375f, -2.359375f, -1.0f};
  const std::vector<float> scores = {2.5f, 2.5f, 2.5f - 7.0527f};
  FlashState<float> state;
  const float two = attend(rule, {scores.begin(), scores.begin() + 2},
                           {values.begin(), values.begin() + 2}, state);
  EXPECT_EQ(bits_of(two), bits_of(-4.703125f));
  EXPECT_EQ(float_from_bf16(std::uint16_t(bf16_from_float(-4.6875f) + 1)), -4.71875f);
  state = {};
  const float sum = attend(rule, scores, values, state);
  EXPECT_NEAR(double(sum), -4.703990, 2e-6);
  const float rounded = round_to(Format::bf16, sum);
  EXPECT_EQ(bits_of(rounded), bits_of(-4.71875f));
  EXPECT_NEAR(double(rounded) - double(sum), -0.0148, 5e-5);
}

/// With the mitigation no P is 1, and the products have low bits of their own.
TEST(FlashBias, TheMitigationLeavesNoPEqualToOne) {
  const std::vector<float> scores = {2.5f, 2.5f, 2.4995f, -4.5f};
  const auto greatest = [&](float beta, bool loose, std::vector<float> row) {
    FlashRule rule;
    rule.beta = double(beta);
    rule.loose = loose;
    float m = 0.0f;
    EXPECT_TRUE(flash_scores(
        rule, std::array<float, 1>{1.0f}.data(), 1, 1.0f, 0.0f, 0, std::int64_t(row.size()) - 1,
        [](std::int64_t) { return true; },
        [copy = row](std::int64_t j, int) { return copy[std::size_t(j)]; }, row.data(), m));
    return m;
  };
  EXPECT_EQ(greatest(0, false, scores), 2.5f);
  EXPECT_EQ(greatest(7, false, scores), 17.5f);
  EXPECT_EQ(greatest(7, false, {-2.5f, -2.5f, -9.0f}), 0.0f);
  EXPECT_EQ(greatest(7, false, {0.0f, 0.0f, -9.0f}), 0.0f);
  EXPECT_EQ(greatest(7, false, {2.5f, 2.4995f, -9.0f}), 2.5f) << "a single maximum";
  EXPECT_EQ(greatest(2, true, {2.5f, 2.4995f, -9.0f}), 5.0f) << "within 1e-3";
  EXPECT_EQ(greatest(2, true, {2.5f, 2.498f, -9.0f}), 2.5f);
}

/// The running maximum takes the raised one: a later block with the same score keeps P below 1 (the
/// printed algorithm takes the raw maximum there, and P would be 1 again).
TEST(FlashBias, TheRunningMaximumIsTheRaisedOne) {
  FlashRule rule;
  rule.block = 16;
  rule.beta = 7;
  std::vector<float> scores(32, -20.0f), values(32, 0.0f);
  scores[0] = scores[1] = scores[20] = 2.5f;
  values[20] = 1.0f;
  FlashState<float> state;
  const float o = attend(rule, scores, values, state);
  EXPECT_EQ(bits_of(state.m), bits_of(17.5f));
  EXPECT_EQ(bits_of(o), bits_of(exp_(2.5f - 17.5f)));
}

/// In exact arithmetic the mitigation changes nothing.
TEST(FlashBias, TheMitigationKeepsTheOutput) {
  std::vector<double> scores, values;
  for (int j = 0; j < 100; ++j) {
    scores.push_back(j % 7 == 3 ? 1.25 : 1.25 - double(j * 37 % 50) / 16);
    values.push_back(double(j * 29 % 64) / 32 - 1);
  }
  double plain = 0;
  for (const double beta : {0.0, 1.0, 2.0, 7.0, 64.0}) {
    for (const bool loose : {false, true}) {
      FlashRule rule;
      rule.block = 32;
      rule.beta = beta;
      rule.loose = loose && beta < 8;  // its least sum is above that of beta 64
      FlashState<double> state;
      const double o = attend(rule, scores, values, state) * (1 / state.l);
      if (plain == 0) plain = o;
      EXPECT_NEAR(o / plain, 1, 1e-13) << beta;
    }
  }
}

TEST(FlashBias, TheLooseFormLetsNoSumBeBelowItsLeast) {
  FlashRule rule;
  rule.beta = 64;
  rule.loose = true;
  FlashState<float> state;
  attend<float>(rule, {1.0f, 1.0f}, {1.0f, 1.0f}, state);
  EXPECT_EQ(bits_of(state.l), bits_of(1e-10f));
  rule.loose = false;
  state = {};
  attend<float>(rule, {3.0f, 3.0f}, {1.0f, 1.0f}, state);
  EXPECT_EQ(bits_of(state.l), bits_of(0.0f)) << "exp(3 - 192) underflows: what a large beta does";
}

/// Three terms in their six orders, operands and every sum rounded to the format. The values are
/// those of torch 2.15 for the same additions; the sums are of arXiv 2506.09501, section 2.
TEST(OrderOfSums, ThreeTerms) {
  using Sums = std::array<float, 6>;  // orders 012 021 102 120 201 210
  struct Expected {
    std::array<float, 3> terms;
    Format format;
    Sums sums;
  };
  constexpr float kA = 0x1.9ap-3f, kB = 0x1.9cp-3f, kC = 0x1.998p-3f, kD = 0x1.994p-3f;
  constexpr float kE = 0x1.99999ap-3f, kF = 0x1.99999cp-3f, kG = 0x1.0119cep+0f;
  constexpr float kH = 0x1.01p+0f, kI = 0x1.014p+0f, kJ = 0x1.02p+0f;
  const Expected all[] = {{{0.1f, -0.1f, 0.2f}, Format::bf16, {kA, kB, kA, kA, kB, kA}},
                          {{0.1f, -0.1f, 0.2f}, Format::fp16, {kC, kD, kC, kC, kD, kC}},
                          {{0.1f, -0.1f, 0.2f}, Format::f32, {kE, kF, kE, kE, kF, kE}},
                          {{0.0016f, 0.0027f, 1.0f}, Format::bf16, {kJ, 1, kJ, 1, 1, 1}},
                          {{0.0016f, 0.0027f, 1.0f}, Format::fp16, {kH, kI, kH, kI, kI, kI}},
                          {{0.0016f, 0.0027f, 1.0f}, Format::f32, {kG, kG, kG, kG, kG, kG}}};
  constexpr int kOrders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
  for (const Expected& expected : all) {
    for (std::size_t order = 0; order < 6; ++order) {
      const auto term = [&](int i) {
        return round_to(expected.format, expected.terms[std::size_t(kOrders[order][i])]);
      };
      const float two = round_to(expected.format, term(0) + term(1));
      const float sum = round_to(expected.format, two + term(2));
      EXPECT_EQ(bits_of(sum), bits_of(expected.sums[order]))
          << int(expected.format) << " order " << order;
    }
  }
}

}  // namespace
}  // namespace isobit
