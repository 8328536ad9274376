// Tests of the sampler at the ends of its range; the draws themselves are in the conformance suite.
#include "runtime/model/sampler.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <set>
#include <vector>

namespace isobit {
namespace {

template <class T>
std::set<std::int32_t> drawn(const std::vector<T>& logits, SamplerOptions options) {
  std::set<std::int32_t> ids;
  for (std::int64_t position = 0; position < 200; ++position) {
    ids.insert(sample<T>(logits, options, 1, position));
  }
  return ids;
}

TEST(SamplerTest, TheLeastTemperatureIsGreedy) {
  SamplerOptions options;
  options.temperature = kLeastTemperature;
  EXPECT_EQ(drawn<float>({1.0F, 30.0F, 29.99F, -5.0F}, options), std::set<std::int32_t>{1});
  EXPECT_EQ(drawn<double>({1.0, 30.0, 29.99, -5.0}, options), std::set<std::int32_t>{1});
}

TEST(SamplerTest, AQuotientThatOverflowsIsDefined) {
  SamplerOptions options;
  options.temperature = kLeastTemperature;
  const float most = std::numeric_limits<float>::max();
  EXPECT_EQ(drawn<float>({0.0F, most, 1.0F, -most}, options), std::set<std::int32_t>{1});
  EXPECT_EQ(drawn<float>({most / 2, most, 1.0F}, options), (std::set<std::int32_t>{0, 1}));
  EXPECT_EQ(drawn<float>({-most, -most / 2}, options), (std::set<std::int32_t>{0, 1}));
  options.top_p = 1e-300;
  EXPECT_EQ(drawn<float>({-most, 5.0F, -most}, options), std::set<std::int32_t>{1});
}

TEST(SamplerTest, TheEndsOfTopPAndTopK) {
  SamplerOptions options;
  options.temperature = 1000.0;
  options.top_p = 0.0;  // the first candidate alone
  EXPECT_EQ(drawn<float>({1.0F, 2.0F, 3.0F}, options), std::set<std::int32_t>{2});
  options.top_p = 1.0;
  options.top_k = std::int64_t{1} << 30;
  EXPECT_EQ(drawn<float>({1.0F, 2.0F, 3.0F}, options), (std::set<std::int32_t>{0, 1, 2}));
}

}  // namespace
}  // namespace isobit
