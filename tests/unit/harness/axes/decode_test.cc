// Axis decode: canonical texts, what reaches the sampler, and what is refused.
#include <gtest/gtest.h>

#include "harness/axes/axes.h"

namespace isobit {
namespace {

using Pairs = std::vector<std::pair<std::string, std::string>>;

std::string text_of_map(const Pairs& pairs) {
  const auto value = axis_value("decode", {"", pairs}, ValueUse::exact);
  return value ? value->text : value.error().message;
}

std::string text_of_word(const std::string& word) {
  const auto value = axis_value("decode", word);
  return value ? value->text : value.error().message;
}

TEST(DecodeAxis, TextsAreSortedWithoutDefaults) {
  EXPECT_EQ(text_of_map({{"top_k", "50"}}), "top_k:50");
  EXPECT_EQ(
      text_of_map({{"top_k", "50"}, {"top_p", "0.90"}, {"temperature", "0.8"}, {"seed", "3"}}),
      "seed:3+temperature:0.8+top_k:50+top_p:0.9");
  EXPECT_EQ(text_of_map({{"temperature", "1.0"}, {"top_p", "1"}, {"top_k", "0"}, {"seed", "0"}}),
            "sample");
  EXPECT_EQ(text_of_map({{"temperature", "1e+2"}}), "temperature:100");
  EXPECT_EQ(text_of_word("top_p:0.9+top_k:7"), "top_k:7+top_p:0.9");
}

TEST(DecodeAxis, ReachesTheSampler) {
  const AxisValue value = *axis_value("decode", "seed:3+temperature:0.5+top_k:50+top_p:0.25");
  const SamplerOptions asked = requested({{"decode", value}}).sampler;
  EXPECT_TRUE(asked.temperature == 0.5 && asked.top_p == 0.25);
  EXPECT_EQ(asked.top_k, 50);
  EXPECT_EQ(asked.seed, 3u);
  EXPECT_EQ(text_of(asked), value.text);
  EXPECT_TRUE(requested({}).sampler.temperature == 0);
  EXPECT_TRUE(requested({{"decode", *axis_value("decode", "sample")}}).sampler.temperature == 1);
}

TEST(DecodeAxis, TheSeedIsTheOptionOrTheAxis) {
  const AxisValue sampled = *axis_value("decode", "top_k:50");
  EXPECT_EQ(requested({{"decode", sampled}, {"seed", *axis_value("seed", "7")}}).sampler.seed, 7u);
  const AxisValue seeded = *axis_value("decode", "seed:3");
  EXPECT_EQ(requested({{"decode", seeded}, {"seed", *axis_value("seed", "0")}}).sampler.seed, 3u);
}

TEST(DecodeAxis, IsSelectedByItsOptions) {
  const AxisValue value = *axis_value("decode", "temperature:0.7+top_k:50");
  for (const char* pattern : {"top_k", "top_k:50", "temperature:0.7", "temperature"}) {
    EXPECT_TRUE(value_matches(value, pattern)) << pattern;
    EXPECT_TRUE(axis_value("decode", {pattern, {}}, ValueUse::pattern)) << pattern;
  }
  EXPECT_FALSE(value_matches(value, "top_k:5"));
  EXPECT_FALSE(value_matches(value, "sample"));
}

TEST(DecodeAxis, SaysWhatIsWrong) {
  EXPECT_EQ(text_of_word("gredy"),
            "unknown value \"gredy\" for axis decode; did you mean \"greedy\"?");
  EXPECT_EQ(text_of_word("top_k"),
            "unknown value \"top_k\" for axis decode; it needs a number, e.g. {top_k: 50}");
  EXPECT_EQ(text_of_map({{"topk", "5"}}),
            "unknown value \"topk\" for axis decode; did you mean \"top_k\"?");
  EXPECT_EQ(text_of_map({{"greedy", "true"}}),
            "unknown value \"greedy\" for axis decode; it stands alone");
  EXPECT_EQ(text_of_map({{"temperature", "0"}}),
            "decode, option temperature: \"0\" is not a number from 1e-30 to 1000; without "
            "randomness decode is greedy");
  EXPECT_EQ(text_of_map({{"top_p", "0"}}),
            "decode, option top_p: \"0\" is not a number above 0, up to 1");
  EXPECT_EQ(text_of_map({{"top_p", "nan"}}),
            "decode, option top_p: \"nan\" is not a number above 0, up to 1");
  EXPECT_EQ(text_of_map({{"top_k", "-1"}}),
            "decode, option top_k: \"-1\" is not a whole number from 0 to 1073741824");
  EXPECT_EQ(text_of_map({{"top_k", "5"}, {"top_k", "6"}}),
            "option \"top_k\" of decode is given twice");
}

}  // namespace
}  // namespace isobit
