// Which experts a row uses, and their weights: worked by hand.
#include "runtime/numerics/routing.h"

#include <gtest/gtest.h>

#include <limits>

namespace isobit {
namespace {

using Ids = std::vector<std::int32_t>;

Route routed(const std::vector<float>& logits, std::int64_t used, bool sum_to_one = true,
             Format stored = Format::f32) {
  return route(std::span<const float>(logits), used, sum_to_one, stored);
}

TEST(Routing, TakesTheLargestInAscendingOrder) {
  EXPECT_EQ(routed({1, 5, 3, 4}, 1).experts, Ids{1});
  EXPECT_EQ(routed({1, 5, 3, 4}, 3).experts, (Ids{1, 2, 3}));
  EXPECT_EQ(routed({1, 5, 3, 4}, 4).experts, (Ids{0, 1, 2, 3}));
}

TEST(Routing, TheLowerIdWinsAmongEquals) {
  EXPECT_EQ(routed({2, 7, 7, 7}, 2).experts, (Ids{1, 2}));
  EXPECT_EQ(routed({0.0F, -0.0F, 0.0F}, 1).experts, Ids{0});
  EXPECT_EQ(routed({-0.0F, 0.0F, 0.0F}, 1).experts, Ids{0});
}

TEST(Routing, ANanIsBelowEveryOther) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float infinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(routed({nan, -infinity, 3}, 2).experts, (Ids{1, 2}));
  EXPECT_EQ(routed({nan, nan, 3}, 2).experts, (Ids{0, 2}));
  for (const double weight : routed({nan, 1, 3}, 2).weights) EXPECT_TRUE(weight != weight);
}

TEST(Routing, WeightsAreShares) {
  // exp(0) = 1 and exp of a difference that rounds to 0: shares are exact.
  EXPECT_EQ(routed({4, -1000, 4}, 2).weights, (std::vector<double>{0.5, 0.5}));
  EXPECT_EQ(routed({4, 4, 4, 4}, 2, true).weights, (std::vector<double>{0.5, 0.5}));
  EXPECT_EQ(routed({4, 4, 4, 4}, 2, false).weights, (std::vector<double>{0.25, 0.25}));
}

TEST(Routing, TermsAreAddedInAscendingOrderAndRoundedOnce) {
  const std::vector<float> logits = {0.3F, 1.7F, -0.4F, 2.1F, 0.9F};
  std::vector<float> terms;
  for (const float x : logits) terms.push_back(exp_(x - 2.1F));
  const float all = (((terms[0] + terms[1]) + terms[2]) + terms[3]) + terms[4];
  const float used = (terms[1] + terms[3]) + terms[4];
  for (const Format stored : {Format::f32, Format::bf16, Format::fp16}) {
    const auto want = [&](std::size_t e, float sum) {
      return double(round_to(stored, terms[e] / sum));
    };
    EXPECT_EQ(routed(logits, 3, false, stored).weights,
              (std::vector<double>{want(1, all), want(3, all), want(4, all)}));
    EXPECT_EQ(routed(logits, 3, true, stored).weights,
              (std::vector<double>{want(1, used), want(3, used), want(4, used)}));
  }
}

}  // namespace
}  // namespace isobit
