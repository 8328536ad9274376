// The life of a shipped cache, without a model: when it quantises, what is one tensor, what it
// keeps and where it stops.
#include "runtime/cache/shipped.h"

#include <gtest/gtest.h>

#include <cmath>

namespace isobit {
namespace {

constexpr KvModel kModel = {2, 4, 2, 64, Format::bf16, false};
constexpr std::int64_t kWidth = 128;

std::unique_ptr<ShippedCache> open(const std::string& kv) {
  const auto spec = parse_kv_policy(kv);
  EXPECT_TRUE(spec) << kv;
  return spec->shipped->open(kModel);
}

/// bf16 numbers, (tokens, width).
std::vector<double> some_rows(std::int64_t tokens, int seed) {
  std::vector<double> out;
  for (std::int64_t i = 0; i < tokens * kWidth; ++i) {
    out.push_back(double(round_to(Format::bf16, float(std::sin(double(i * 31 + seed))))));
  }
  return out;
}

struct Fed {
  std::vector<double> k, v;
};

/// One step of layer 0 for sequences that bring `tokens` rows each behind `past`.
std::vector<ShippedSeen> step(ShippedCache& cache, std::int64_t past, std::int64_t tokens,
                              const std::vector<int>& sequences, std::vector<Fed>* fed = nullptr) {
  std::vector<Fed> rows;
  for (const int s : sequences) rows.push_back({some_rows(tokens, s), some_rows(tokens, s + 100)});
  std::vector<ShippedRows> given;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    given.push_back({sequences[i], past, rows[i].k, rows[i].v});
  }
  auto seen = cache.update(0, given);
  EXPECT_TRUE(seen) << (seen ? "" : seen.error().text());
  if (fed != nullptr) *fed = rows;
  return seen ? *seen : std::vector<ShippedSeen>();
}

TEST(ShippedQuantized, EverythingAtFirstThenAResidual) {
  const auto cache = open("quanto:4+residual:4");
  std::vector<Fed> first, second;
  EXPECT_TRUE(step(*cache, 0, 6, {0}, &first)[0].k.empty());
  EXPECT_EQ(cache->coded(), 6);
  EXPECT_FALSE(cache->seen_coded());
  const std::int64_t groups = 2 * 6 * 2;  // of K and V: 6 positions, two heads of one group
  EXPECT_EQ(cache->bytes(), groups * (32 + 2 + 2));
  const auto seen = step(*cache, 6, 1, {0}, &second);
  EXPECT_EQ(seen[0].k.size(), std::size_t(6 * kWidth));
  EXPECT_NE(seen[0].k, first[0].k);
  EXPECT_TRUE(cache->seen_coded());
  EXPECT_EQ(cache->bytes(), groups * 36 + 2 * kWidth * 2) << "a row of bf16 waits";
  const auto later = step(*cache, 7, 1, {0});
  EXPECT_EQ(std::vector<double>(later[0].k.begin() + 6 * kWidth, later[0].k.end()), second[0].k)
      << "what waits is exact";
  step(*cache, 8, 1, {0});
  EXPECT_EQ(cache->coded(), 6);
  const auto before = step(*cache, 9, 1, {0});
  EXPECT_EQ(cache->coded(), 16) << "the fourth row filled the residual";
  EXPECT_EQ(std::vector<double>(before[0].k.begin() + 6 * kWidth, before[0].k.begin() + 7 * kWidth),
            second[0].k)
      << "that step still sees it exact";
  const auto after = step(*cache, 10, 1, {0});
  EXPECT_NE(std::vector<double>(after[0].k.begin() + 6 * kWidth, after[0].k.begin() + 7 * kWidth),
            second[0].k);
}

TEST(ShippedQuantized, SequencesOfOneLengthAreOneTensor) {
  const auto alone = [](const char* kv, int sequence) {
    const auto cache = open(kv);
    step(*cache, 0, 6, {sequence});
    return step(*cache, 6, 1, {sequence})[0].k;
  };
  const auto beside = [](const char* kv) {
    const auto cache = open(kv);
    step(*cache, 0, 6, {0, 1});
    const auto seen = step(*cache, 6, 1, {0, 1});
    return seen[1].k;
  };
  EXPECT_EQ(alone("quanto:2", 1), beside("quanto:2"));
  EXPECT_NE(alone("hqq:2", 1), beside("hqq:2"));
}

TEST(ShippedQuantized, ForgetsASequence) {
  const auto cache = open("hqq:4+axis:1");
  step(*cache, 0, 6, {0, 1});
  const std::int64_t both = cache->bytes();
  cache->clear(1);
  EXPECT_EQ(cache->bytes() * 2, both);
  cache->clear(0);
  EXPECT_EQ(cache->bytes(), 0);
  EXPECT_TRUE(step(*cache, 0, 2, {0})[0].k.empty()) << "a first update again";
}

TEST(ShippedQuantized, StopsWhereTheOriginalsDo) {
  const auto refused = [](const char* kv, std::int64_t tokens) {
    const auto cache = open(kv);
    const std::vector<double> x = some_rows(tokens, 0);
    const ShippedRows rows{0, 0, x, x};
    const auto seen = cache->update(0, {&rows, 1});
    return seen ? std::string() : seen.error().message;
  };
  EXPECT_NE(refused("quanto:4+axis:-1", 33).find("66 rows"), std::string::npos);
  EXPECT_EQ(refused("quanto:4+axis:-1", 32), "");
  EXPECT_NE(refused("quanto:4+group:96", 1).find("128 values"), std::string::npos);
  EXPECT_NE(refused("hqq:2+axis:1", 3).find("rows 4 to a byte"), std::string::npos);
  EXPECT_EQ(refused("hqq:2+axis:1", 4), "");
  EXPECT_EQ(refused("hqq:2", 3), "");
  EXPECT_NE(refused("hqq:4+group:96", 1).find("hqq raises"), std::string::npos);
}

TEST(ShippedKvarn, FlushesAtTheNextStepAndKeepsTheFirstGroup) {
  const auto cache = open("kvarn:k4v2+form:shipped+group:64");
  EXPECT_FALSE(cache->attends(0));
  EXPECT_TRUE(cache->attends(1));
  step(*cache, 0, 200, {0});
  EXPECT_EQ(cache->coded(), 0);
  EXPECT_EQ(cache->bytes(), 200 * kWidth * 2 * 2);
  step(*cache, 200, 1, {0});
  EXPECT_EQ(cache->coded(), 128) << "groups 1 and 2 of 0, 1, 2";
  const std::int64_t tile = 64 * 64 / 2 + 2 * (64 + 64 + 64) + 64 * 64 / 4 + 2 * (64 + 64 + 64);
  EXPECT_EQ(cache->bytes(), (64 + 9) * kWidth * 2 * 2 + 4 * tile);
}

TEST(ShippedKvarn, AttendsToItsOneSequence) {
  const auto cache = open("kvarn:k4v4+form:shipped");
  step(*cache, 0, 5, {0});
  std::vector<Fed> fed;
  step(*cache, 5, 1, {0}, &fed);
  const std::vector<double> q(std::size_t(4 * 64), 0.0);
  std::vector<double> out(q.size());
  cache->attend(0, {0.125, 0.0}, {0, q, out});
  double mean = 0.0;  // of channel 0 of V: scores are equal, and nothing is quantised yet
  const std::vector<double> old = some_rows(5, 100);
  for (int t = 0; t < 5; ++t) mean += old[std::size_t(t * kWidth)] / 6.0;
  mean += fed[0].v[0] / 6.0;
  EXPECT_NEAR(out[0], mean, 0.01);
  EXPECT_EQ(out[0], out[64]) << "query heads 0 and 1 read KV head 0";
}

}  // namespace
}  // namespace isobit
