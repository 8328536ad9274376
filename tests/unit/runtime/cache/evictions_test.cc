// Policies that evict: their views as tables, hand-worked choices, and what they refuse.
#include <gtest/gtest.h>

#include <numeric>

#include "runtime/cache/policy.h"
#include "runtime/numerics/bits.h"
#include "runtime/numerics/functions.h"
#include "runtime/numerics/kv/expected.h"
#include "runtime/numerics/kv/pool.h"

namespace isobit {
namespace {

using Mask = std::vector<std::uint8_t>;

std::shared_ptr<const CachePolicy> policy_of(const std::string& text) {
  auto spec = parse_kv_policy(text);
  EXPECT_TRUE(spec) << (spec ? "" : spec.error().text());
  return spec ? spec->policy : nullptr;
}
std::string refusal(const std::string& text) {
  const auto spec = parse_kv_policy(text);
  return spec ? "accepted" : spec.error().text();
}

/// What select() leaves of `keep` after row n - 1 + `later`. `scores`: (heads, positions).
Mask kept(const std::string& text, std::int64_t heads, std::int64_t kv_heads,
          const std::vector<double>& scores, Mask keep, std::int64_t later = 0) {
  const auto positions = std::int64_t(scores.size()) / heads;
  policy_of(text)->select(
      {positions - later, positions - 1, heads, kv_heads, positions, true, scores}, keep);
  return keep;
}

/// Positions that a query sees of those up to its own.
std::vector<std::int64_t> seen(const std::string& text, std::int64_t q) {
  std::vector<std::int64_t> out;
  for (std::int64_t j = 0; j <= q; ++j) {
    if (policy_of(text)->pattern(q).sees(j)) out.push_back(j);
  }
  return out;
}

TEST(KvEvictionText, CanonicalAndRefused) {
  const std::pair<const char*, const char*> same[] = {
      {"window:8", "window:8"},
      {"streaming:64+sinks:4", "streaming:64"},
      {"sinks:2+streaming:64", "streaming:64+sinks:2"},
      {"streaming:64+sinks:0", "window:64"},
      {"streaming:64+positions:original", "streaming:64"},
      {"streaming:64+sinks:0+positions:in_cache", "streaming:64+positions:in_cache+sinks:0"},
      {"snapkv:128+window:32+kernel:7+pool:max", "snapkv:128"},
      {"snapkv:128+pool:avg+kernel:5+window:64", "snapkv:128+kernel:5+pool:avg+window:64"},
      {"snapkv:128+kernel:1+pool:avg", "snapkv:128+kernel:1"},
      {"h2o:1", "h2o:1"},
      {"knorm:7", "knorm:7"},
      {"expected_attention:5", "expected_attention:5"},
  };
  for (const auto& [written, canonical] : same) {
    const auto spec = parse_kv_policy(written);
    ASSERT_TRUE(spec) << spec.error().text();
    EXPECT_EQ(spec->text, canonical);
    EXPECT_EQ(parse_kv_policy(spec->text)->text, canonical) << "it reads back";
  }
  for (const char* text :
       {"window", "window:0", "window:8+sinks:4", "streaming:0", "h2o:0", "h2o:-1", "snapkv:0",
        "snapkv:64+window:0", "snapkv:64+kernel:0", "snapkv:64+pool:min", "tova:4+h2o:4", "knorm:0",
        "expected_attention:0", "expected_attention:4", "chain:h2o:4>snapkv:64",
        "streaming:64+positions:new", "window:64+positions:in_cache",
        "chain:(streaming:64+positions:in_cache)>q8_0"}) {
    EXPECT_NE(refusal(text), "accepted") << text;
  }
  EXPECT_EQ(refusal("streaming:4"),
            "bad kv \"streaming:4\": a budget of 4 has no room besides 4 sinks");
  EXPECT_EQ(refusal("snapkv:32"),
            "bad kv \"snapkv:32\": a budget of 32 has no room besides a window of 32");
  EXPECT_EQ(refusal("snapkv:64+kernel:4"),
            "bad kv \"snapkv:64+kernel:4\": a kernel has a middle; 4 is even");
}

TEST(KvEvictionView, OfAWindow) {
  EXPECT_EQ(seen("window:3", 1), (std::vector<std::int64_t>{0, 1}));
  EXPECT_EQ(seen("window:3", 2), (std::vector<std::int64_t>{0, 1, 2}));
  EXPECT_EQ(seen("window:3", 5), (std::vector<std::int64_t>{3, 4, 5}));
  EXPECT_EQ(seen("window:1", 5), (std::vector<std::int64_t>{5}));
  const auto policy = policy_of("window:3");
  EXPECT_FALSE(policy->acts({}, 10, 2));
  EXPECT_TRUE(policy->acts({}, 10, 3)) << "prompt rows too";
  EXPECT_FALSE(policy->waits_for_prompt());
}

TEST(KvEvictionView, OfStreaming) {
  EXPECT_EQ(seen("streaming:6", 5), (std::vector<std::int64_t>{0, 1, 2, 3, 4, 5}));
  EXPECT_EQ(seen("streaming:6", 6), (std::vector<std::int64_t>{0, 1, 2, 3, 5, 6}));
  EXPECT_EQ(seen("streaming:6", 9), (std::vector<std::int64_t>{0, 1, 2, 3, 8, 9}));
  EXPECT_EQ(seen("streaming:3+sinks:1", 9), (std::vector<std::int64_t>{0, 8, 9}));
  EXPECT_EQ(seen("streaming:3+sinks:0", 9), seen("window:3", 9));
  EXPECT_FALSE(policy_of("streaming:6")->acts({}, 3, 5));
  EXPECT_TRUE(policy_of("streaming:6")->acts({}, 3, 6));
}

TEST(KvEvictionView, CountsWhatItSees) {
  for (const char* text : {"window:3", "streaming:6", "streaming:9+sinks:8"}) {
    for (std::int64_t q = 0; q < 20; ++q) {
      const KvPattern pattern = policy_of(text)->pattern(q);
      std::int64_t count = 0;
      for (std::int64_t end = 0; end <= q; ++end) {
        EXPECT_EQ(pattern.count(end), count) << text << " " << q << " " << end;
        count += pattern.sees(end) ? 1 : 0;
      }
    }
  }
}

TEST(KvEvictionView, PositionsInTheCacheNeedARope) {
  const auto why = [](const KvModel& model) {
    const auto ok = check_kv_policy(*parse_kv_policy("streaming:8+positions:in_cache"), model);
    return ok ? std::string() : ok.error().text();
  };
  KvModel model{2, 4, 2, 64};
  EXPECT_EQ(why(model), "");
  EXPECT_TRUE(policy_of("streaming:8+positions:in_cache")->positions_in_cache());
  EXPECT_FALSE(policy_of("streaming:8")->positions_in_cache());
  model.turns_by_length = true;
  EXPECT_NE(why(model).find("turns by the length of a sequence too"), std::string::npos);
  model.turns = model.turns_by_length = false;
  EXPECT_NE(why(model).find("does not have"), std::string::npos);
  EXPECT_TRUE(check_kv_policy(*parse_kv_policy("streaming:8"), model));
}

/// What the store relies on: never more of the earlier positions than the query before saw, and
/// never more than B in all.
TEST(KvEvictionView, OnlyShrinks) {
  for (const char* text : {"window:5", "streaming:7", "streaming:9+sinks:8"}) {
    const auto policy = policy_of(text);
    const std::int64_t budget = text[0] == 'w' ? 5 : text[10] - '0';
    for (std::int64_t q = 1; q < 40; ++q) {
      const KvPattern before = policy->pattern(q - 1), now = policy->pattern(q);
      std::int64_t count = 0;
      for (std::int64_t j = 0; j <= q; ++j) {
        ASSERT_TRUE(j == q || !now.sees(j) || before.sees(j)) << text << " " << q << " " << j;
        count += now.sees(j) ? 1 : 0;
      }
      ASSERT_TRUE(now.sees(q));
      ASSERT_EQ(count, std::min(q + 1, budget)) << text << " " << q;
    }
  }
}

TEST(KvEvictionMoment, OnceOrAfterEveryRow) {
  for (const char* text : {"knorm:40", "snapkv:40", "expected_attention:40"}) {
    const auto policy = policy_of(text);
    EXPECT_FALSE(policy->selects(50, 48)) << text;
    EXPECT_TRUE(policy->selects(50, 49)) << text;
    EXPECT_FALSE(policy->selects(50, 50)) << text << ": what is generated stays";
    EXPECT_FALSE(policy->selects(40, 39)) << text << ": a budget that covers the prompt";
    EXPECT_FALSE(policy->acts({}, 50, 49)) << text;
    EXPECT_TRUE(policy->acts({}, 50, 50)) << text;
    EXPECT_FALSE(policy->acts({}, 40, 90)) << text;
    EXPECT_TRUE(policy->waits_for_prompt());
  }
  const auto h2o = policy_of("h2o:40");
  EXPECT_FALSE(h2o->selects(50, 48));
  EXPECT_TRUE(h2o->selects(50, 49));
  EXPECT_TRUE(h2o->selects(50, 77));
  EXPECT_TRUE(h2o->observes(50, 0));
  EXPECT_TRUE(h2o->acts({}, 50, 50));
  EXPECT_FALSE(h2o->acts({}, 5, 40)) << "forty keys before it: none had to go";
  EXPECT_TRUE(h2o->acts({}, 5, 41));
  const auto snapkv = policy_of("snapkv:40+window:8");
  EXPECT_FALSE(snapkv->observes(50, 41));
  EXPECT_TRUE(snapkv->observes(50, 42));
  EXPECT_TRUE(snapkv->observes(50, 49));
  EXPECT_FALSE(snapkv->observes(50, 50));
  EXPECT_FALSE(snapkv->observes(40, 39));
  const auto expected = policy_of("expected_attention:40");
  EXPECT_FALSE(expected->observes_query(50, 3)) << "sinks are no part of the statistics";
  EXPECT_TRUE(expected->observes_query(50, 4));
  EXPECT_FALSE(expected->observes_query(50, 50));
  EXPECT_FALSE(expected->observes_query(40, 20));
}

TEST(KvEvictionH2o, KeepsTheLatestAndTheHeaviest) {
  // Budget 4: the latest two, and the two best of the older ones.
  EXPECT_EQ(kept("h2o:4", 1, 1, {0.3, 0.9, 0.1, 0.5, 0.0, 0.0}, Mask(6, 1)),
            (Mask{0, 1, 0, 1, 1, 1}));
  EXPECT_EQ(kept("h2o:4", 1, 1, {0.3, 0.9, 0.1, 0.5}, Mask(4, 1)), Mask(4, 1));
  EXPECT_EQ(kept("h2o:1", 1, 1, {0.3, 0.9, 0.1}, Mask(3, 1)), (Mask{0, 1, 0}))
      << "half of one is none: the newest may go";
  EXPECT_EQ(kept("h2o:3", 1, 1, {0.2, 0.2, 0.2, 0.2, 0.2}, Mask(5, 1)), (Mask{1, 1, 0, 0, 1}))
      << "the lower position of a tie";
  EXPECT_EQ(kept("h2o:4", 1, 1, {9, 8, 7, 6, 5, 4}, Mask{0, 1, 0, 1, 1, 1}, 2),
            (Mask{0, 1, 0, 1, 1, 1}))
      << "what is gone stays gone and does not count";
  // Two KV heads of two query heads each choose apart, by the sums of their own.
  EXPECT_EQ(kept("h2o:2", 4, 2, {0.4, 0.1, 0, 0.1, 0.5, 0, 0.1, 0.2, 0, 0.6, 0.2, 0}, Mask(6, 1)),
            (Mask{0, 1, 1, 1, 0, 1}));
  const double nan = double_of(0x7ff8000000000000ull);
  EXPECT_EQ(kept("h2o:2", 1, 1, {nan, 0.0, 0.5}, Mask(3, 1)), (Mask{0, 1, 1}));
}

TEST(KvEvictionH2o, AddsWeightsRowByRow) {
  std::vector<double> scores(3, 0.0);
  const std::vector<double> first = {1.0}, second = {0.25, 0.75}, third = {0.5, 0.125, 0.375};
  const auto policy = policy_of("h2o:2");
  policy->observe(3, 0, first, std::span(scores).first(1));
  policy->observe(3, 1, second, std::span(scores).first(2));
  policy->observe(3, 2, third, scores);
  EXPECT_EQ(scores, (std::vector<double>{1.75, 0.875, 0.375}));
}

TEST(KvEvictionSnapKv, PoolsBeforeTheWindowOnly) {
  std::vector<double> x = {1, 5, 2, 0, 0, 3};
  max_pool(x, 3);
  EXPECT_EQ(x, (std::vector<double>{5, 5, 5, 2, 3, 3}));
  x = {3, 6, 9};
  average_pool(x, 3);
  EXPECT_EQ(x, (std::vector<double>{3, 6, 5})) << "beyond the ends is zero, the divisor stays";
  x = {3, 6, 9};
  average_pool(x, 7);
  EXPECT_EQ(x, (std::vector<double>(3, 18.0 / 7.0)));
  const double nan = double_of(0x7ff8000000000000ull);
  x = {1, nan, 2, 7};
  max_pool(x, 3);
  EXPECT_TRUE(is_nan(x[0]) && is_nan(x[1]) && is_nan(x[2]));
  EXPECT_EQ(x[3], 7);

  std::vector<double> scores = {0, 0, 4, 0, 0, 0, 99, 99};
  policy_of("snapkv:5+window:2+kernel:3")->score({8, 7, 0, 1, {}, {}, {}, {}, {}}, scores);
  EXPECT_EQ(scores, (std::vector<double>{0, 4, 4, 4, 0, 0, 99, 99}));
  EXPECT_EQ(kept("snapkv:5+window:2+kernel:3", 1, 1, scores, Mask(8, 1)),
            (Mask{0, 1, 1, 1, 0, 0, 1, 1}));
  EXPECT_EQ(kept("snapkv:4+window:2+kernel:3", 1, 1, scores, Mask(8, 1)),
            (Mask{0, 1, 1, 0, 0, 0, 1, 1}))
      << "the lower position of a tie";
}

TEST(KvEvictionKnorm, KeepsSmallNorms) {
  const std::vector<double> keys = {3, 4, 0, 1, 6, 8, 0, 0, 1, 0};  // norms 5 1 10 0 1
  std::vector<double> scores(5, 0.0);
  policy_of("knorm:2")->score({5, 4, 0, 2, keys, {}, {}, {}, {}}, scores);
  EXPECT_EQ(scores, (std::vector<double>{-5, -1, -10, 0, -1}));
  EXPECT_EQ(kept("knorm:2", 1, 1, scores, Mask(5, 1)), (Mask{0, 1, 0, 1, 0}));
  // The second head of a group repeats the first and is not added.
  EXPECT_EQ(kept("knorm:1", 2, 1, {-1, -2, -9, 0}, Mask(2, 1)), (Mask{1, 0}));
}

TEST(KvEvictionExpected, MomentsOfQueries) {
  std::vector<double> state(std::size_t(moments_size(2)), 0.0);
  for (const auto& q : {std::vector<double>{1, 2}, {3, 2}, {2, 5}}) add_query(q, state);
  EXPECT_EQ(state, (std::vector<double>{6, 9, 14, 18, 33}));
  QueryMoments moments(2, state, 3);
  EXPECT_EQ(moments.mean, (std::vector<double>{2, 3}));
  EXPECT_NEAR(moments.covariance[0], 2.0 / 3, 1e-15);
  EXPECT_EQ(moments.covariance[1], 0.0);
  EXPECT_EQ(moments.covariance[2], 0.0);
  EXPECT_EQ(moments.covariance[3], 2.0);
  // A quarter turn: (a, b) becomes (-b, a).
  const std::vector<double> cosine = {0.0, 0.0}, sine = {0.5, 1.5};
  moments.turn(cosine, sine, 1);
  EXPECT_EQ(moments.mean, (std::vector<double>{-3, 2}));
  EXPECT_EQ(moments.covariance[0], 2.0);
  EXPECT_NEAR(moments.covariance[3], 2.0 / 3, 1e-15);
  std::vector<double> scratch;
  const std::vector<double> key = {1, 0};
  EXPECT_EQ(moments.expected(key, scratch), -3.0 / sqrt_(2.0) + 2.0 / 4.0);
}

TEST(KvEvictionExpected, WeighsByTheNormOfValuesAndKeepsSinks) {
  // Two channels that nothing turns; the queries are all (1, 0), so the score is exp(k0 / sqrt 2).
  const auto policy = policy_of("expected_attention:6");
  std::vector<double> state(std::size_t(policy->query_state({1, 1, 1, 2})), 0.0);
  const std::vector<double> query = {1, 0};
  for (std::int64_t q = 4; q < 8; ++q) policy->observe_query(8, q, query, state);
  std::vector<double> keys(16, 0.0), values(16, 0.0), scores(8, 0.0);
  for (std::size_t j = 4; j < 8; ++j) keys[2 * j] = sqrt_(2.0) * double(j - 4), values[2 * j] = 1;
  values[8] = 100;  // position 4: the least weight, the largest value
  policy->score({8, 7, 0, 2, keys, values, state, {}, {}}, scores);
  for (std::size_t j = 0; j < 4; ++j) EXPECT_EQ(scores[j], 0.0) << "sinks are not judged";
  EXPECT_NEAR(scores[7], 0.64391426, 1e-8);
  EXPECT_NEAR(scores[6], 0.23688282, 1e-8);
  EXPECT_NEAR(scores[4], 3.20586033, 1e-8);
  EXPECT_EQ(kept("expected_attention:6", 1, 1, scores, Mask(8, 1)), (Mask{1, 1, 1, 1, 1, 0, 0, 1}));
  const double nan = double_of(0x7ff8000000000000ull);
  std::fill(scores.begin(), scores.end(), nan);
  EXPECT_EQ(kept("expected_attention:6", 1, 1, scores, Mask(8, 1)), (Mask{1, 1, 1, 1, 1, 1, 0, 0}));
}

}  // namespace
}  // namespace isobit
