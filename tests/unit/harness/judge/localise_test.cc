// Localising a difference from stored digests alone.
#include <gtest/gtest.h>

#include "harness/judge/compare.h"
#include "tests/unit/harness/store/store_samples.h"

namespace isobit {
namespace {

using namespace store_samples;

constexpr int kLayers = 3;

/// Every site of `positions` positions, sorted by key.
PromptTrace observed_prompt(int positions) {
  PromptTrace prompt = sample_trace(1, positions, 1).prompts[0];
  for (int p = 0; p < positions; ++p) {
    for (int layer = -1; layer <= kLayers; ++layer) {
      for (int s = 0; s < kSites - 1; ++s) {
        const auto site = static_cast<Site>(s);
        if ((site == Site::embed) != (layer == -1)) continue;
        if ((site == Site::final_norm) != (layer == kLayers)) continue;
        prompt.observations.push_back({prompt.tokens[std::size_t(p)].position, layer, site,
                                       digest_of(std::uint64_t((p * 100 + layer) * 100 + s))});
      }
    }
  }
  return prompt;
}

constexpr int kPerPosition = 2 + kLayers * 11;

TEST(Localise, EqualTracesHaveNoLocation) {
  const PromptTrace a = observed_prompt(4);
  EXPECT_EQ(a.observations.size(), std::size_t{4 * kPerPosition});
  EXPECT_FALSE(localise(a, a));
}

TEST(Localise, EverySingleObservationIsFound) {
  const PromptTrace a = observed_prompt(2);
  for (std::size_t i = 0; i < a.observations.size(); ++i) {
    PromptTrace b = a;
    for (std::size_t k = i; k < b.observations.size(); ++k) b.observations[k].digest.bytes[0] ^= 1;
    const auto found = localise(a, b);
    ASSERT_TRUE(found);
    EXPECT_EQ(found->position, a.observations[i].position);
    EXPECT_EQ(found->layer, a.observations[i].layer);
    EXPECT_EQ(found->site, a.observations[i].site);
    EXPECT_EQ(found->a, a.observations[i].digest);
    EXPECT_EQ(found->b, b.observations[i].digest);
    EXPECT_EQ(found->compared, 2 * kPerPosition);
    EXPECT_EQ(found->absent, 0);
  }
}

TEST(Localise, OneSideMayLackKeys) {
  const PromptTrace a = observed_prompt(3);
  PromptTrace b = a;
  b.observations.erase(b.observations.begin(), b.observations.begin() + kPerPosition);
  b.observations.pop_back();
  EXPECT_FALSE(localise(a, b)) << "absent is not different";
  b.observations[5].digest.bytes[3] ^= 4;
  for (const bool turned : {false, true}) {
    const auto found = turned ? localise(b, a) : localise(a, b);
    ASSERT_TRUE(found);
    EXPECT_EQ(found->position, a.observations[kPerPosition + 5].position);
    EXPECT_EQ(found->absent, kPerPosition + 1);
    EXPECT_EQ(found->compared, 2 * kPerPosition - 1);
  }
}

TEST(Localise, ADifferenceAfterTheLastRecordedRowIsInTheLogits) {
  const PromptTrace a = observed_prompt(3);
  PromptTrace b = a;
  b.tokens[1].digest = digest_of(4);
  const auto found = localise(a, b);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->site, Site::logits);
  EXPECT_EQ(found->layer, kLayers);
  EXPECT_EQ(found->position, a.tokens[1].position);
}

TEST(Localise, NothingRecordedSaysNothing) {
  PromptTrace a = observed_prompt(3);
  PromptTrace b = a;
  b.tokens[1].digest = digest_of(4);
  a.observations.clear();
  EXPECT_FALSE(localise(a, b));
}

}  // namespace
}  // namespace isobit
