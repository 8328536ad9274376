// Policies by their text, their views as tables, and what they refuse.
#include "runtime/cache/policy.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "runtime/numerics/bits.h"

namespace isobit {
namespace {

std::shared_ptr<const CachePolicy> policy_of(const std::string& text) {
  auto spec = parse_kv_policy(text);
  EXPECT_TRUE(spec) << (spec ? "" : spec.error().text());
  return spec ? spec->policy : nullptr;
}
std::string refusal(const std::string& text) {
  const auto spec = parse_kv_policy(text);
  return spec ? "accepted" : spec.error().text();
}

TEST(KvPolicyText, KnownPoliciesKeepTheirCanonicalText) {
  for (const char* text : {"exact", "q8_0", "kivi:2", "kivi:4", "tova:1", "tova:64"}) {
    const auto spec = parse_kv_policy(text);
    ASSERT_TRUE(spec) << text;
    EXPECT_EQ(spec->text, text);
    EXPECT_EQ(spec->policy == nullptr, spec->text == "exact");
  }
  const std::vector<std::string> forms = kv_policy_forms();
  EXPECT_EQ(forms.front(), "exact");
  EXPECT_NE(std::find(forms.begin(), forms.end(), "{kivi: 2|4}"), forms.end());
}

TEST(KvPolicyText, ErrorsNameTheValueAndWhatIsKnown) {
  EXPECT_EQ(refusal("q9_0").rfind("unknown kv \"q9_0\"; known: exact, ", 0), 0u);
  EXPECT_EQ(refusal("kivi:3"), "bad kv \"kivi:3\": kivi has 2 or 4 bits");
  for (const char* text : {"",
                           "Q8_0",
                           "exact:1",
                           "q8_0:8",
                           "kivi",
                           "kivi:",
                           "kivi:22",
                           "tova",
                           "tova:",
                           "tova:0",
                           "tova:-3",
                           "tova:1e3",
                           "tova:064",
                           "tova:64 ",
                           "tova:99999999999999999999",
                           "none:64",
                           "tova:4+kivi:2",
                           "tova:4+tova:5",
                           "kivi:2+seed:1",
                           "bits:-1",
                           "bits:53",
                           "bits:4+round:up",
                           "uniform:1",
                           "uniform:1/0",
                           "uniform:1/2/3",
                           "uniform:nan/1",
                           "normal:0/-1",
                           "normal:0/inf",
                           "normal:0/1+seed:x",
                           "normal:0/1+of:q",
                           "normal:0/1+layers:1/1",
                           "ggml:q8",
                           "ggml:(k:q8_0)",
                           "ggml:(k:q8_0+v:q8_0+k:q8_0)",
                           "chain:q8_0",
                           "chain:q8_0>kivi:2",
                           "chain:tova:4>tova:5",
                           "chain:(chain:tova:4>q8_0)>q8_0",
                           "quanto:3",
                           "quanto:4+axis:1",
                           "hqq:8",
                           "hqq:4+axis:-1",
                           "hqq:4+group:0",
                           "kvarn:k4v2+form:other",
                           "kvarn:k4v2+form:shipped+sink:128",
                           "kvarn:k4v2+form:shipped+group:32",
                           "kvarn:k2v4+form:shipped",
                           "kvarn:k4v2+form:shipped+sink:64",
                           "chain:quanto:4>tova:4",
                           "chain:",
                           "chain:tova:4>nothing"}) {
    EXPECT_NE(refusal(text), "accepted") << text;
  }
  EXPECT_EQ(parse_kv_policy("q8_0:")->text, "q8_0");
}

TEST(KvPolicyText, GroupsAndTheirBitsHaveLimits) {
  for (const char* text :
       {"rtn", "rtn:0", "rtn:9", "rtn:4+group:1", "rtn:4+group:48+per:channel",
        "rtn:4+group:512+per:channel", "rtn:4+when:block", "rtn:4+per:channel+when:(block:16)",
        "rtn:4+rotate:random", "kivi:2+when:block:64", "kivi:2+when:never", "kvarn", "kvarn:k4v3",
        "kvarn:k4v2+group:96", "kvarn:k4v2+group:16", "kvarn:k4v2+group:256", "kvarn:k4v2+sink:100",
        "kvarn:k4v2+iterations:-1"}) {
    EXPECT_NE(refusal(text), "accepted") << text;
  }
}

TEST(KvPolicyText, EqualMeaningsHaveEqualTexts) {
  const std::pair<const char*, const char*> same[] = {
      {"ggml:q8_0", "q8_0"},
      {"ggml:(v:q8_0+k:q8_0)", "q8_0"},
      {"rotate:true+ggml:q8_0", "q8_0+rotate:true"},
      {"q8_0+rotate:false", "q8_0"},
      {"bits:4+round:nearest+of:both", "bits:4"},
      {"round:down+bits:4+layers:3/0", "bits:4+layers:0/3+round:down"},
      {"uniform:-1.0/1e0+seed:0", "uniform:-1/1"},
      {"normal:0/0.50+at:after_rope", "normal:0/0.5"},
      {"normal:-0/0.25+of:v+at:before_rope", "normal:0/0.25+of:v"},
      {"quanto:4+axis:0+group:64+residual:128", "quanto:4"},
      {"residual:32+axis:-1+quanto:2", "quanto:2+axis:-1+residual:32"},
      {"hqq:2+axis:1", "hqq:2+axis:1"},
      {"form:shipped+kvarn:k4v2+iterations:8", "kvarn:k4v2+form:shipped"},
      {"ggml:(k:q8_0+v:q4_0)", "ggml:(k:q8_0+v:q4_0)"},
      {"ggml:iq4_nl", "iq4_nl"},
      {"rtn:4+per:token+group:32+rotate:none", "rtn:4"},
      {"group:64+rtn:2+per:channel", "rtn:2+group:64+per:channel"},
      {"rtn:2+per:channel+when:prompt", "rtn:2+per:channel"},
      {"rtn:2+per:channel+group:16+when:(block:16)", "rtn:2+group:16+per:channel+when:block"},
      {"rtn:8+rotate:hadamard", "rtn:8+rotate:hadamard"},
      {"kivi:2+when:prompt", "kivi:2"},
      {"kivi:4+when:block", "kivi:4+when:block"},
      {"kvarn:k4v2+form:paper+group:128+sink:128+iterations:8", "kvarn:k4v2"},
      {"kvarn:k2v2+sink:64+group:32", "kvarn:k2v2+group:32+sink:64"},
      {"chain:q8_0>tova:4", "chain:tova:4>q8_0"},
      {"chain:(tova:4)/q8_0", "chain:tova:4>q8_0"},
      {"chain:tova:4>(bits:3+round:down)", "chain:tova:4>(bits:3+round:down)"},
  };
  for (const auto& [written, canonical] : same) {
    const auto spec = parse_kv_policy(written);
    ASSERT_TRUE(spec) << spec.error().text();
    EXPECT_EQ(spec->text, canonical);
    EXPECT_EQ(parse_kv_policy(spec->text)->text, canonical) << "it reads back";
  }
}

TEST(KvPolicyCheck, HeadsAndCacheModes) {
  const auto why = [](const std::string& kv, std::int64_t head_dim, const std::string& cache) {
    const auto policy = *parse_kv_policy(kv);
    const auto model = check_kv_policy(policy, KvModel{2, 4, 2, head_dim});
    const auto mode = check_kv_policy(policy, *parse_cache_mode(cache));
    return !model ? model.error().text() : !mode ? mode.error().text() : std::string();
  };
  for (const char* kv : {"exact", "q8_0", "kivi:2", "tova:8"}) {
    for (const char* cache : {"on", "off", "chunked:3", "paged:5", "recomputed"}) {
      EXPECT_EQ(why(kv, 64, cache), "") << kv << " " << cache;
    }
  }
  EXPECT_EQ(why("exact", 16, "prefix"), "");
  EXPECT_EQ(why("q8_0", 96, "prefix"), "");
  EXPECT_EQ(why("tova:8", 80, "on"), "");
  EXPECT_EQ(why("q8_0", 80, "on"),
            "kv q8_0: a block of 32 channels stays inside one head, and head_dim 80 is no multiple "
            "of 32");
  EXPECT_NE(why("kivi:4", 16, "on").find("head_dim 16"), std::string::npos);
  EXPECT_NE(why("kivi:4", 32, "prefix").find("prefix"), std::string::npos);
  EXPECT_NE(why("tova:8", 32, "prefix").find("prefix"), std::string::npos);
  EXPECT_EQ(why("rtn:3+group:20", 80, "prefix"), "");
  EXPECT_EQ(why("rtn:3", 80, "on"),
            "kv rtn:3: a group of 32 channels stays inside one head, and head_dim 80 is no "
            "multiple of it");
  EXPECT_EQ(why("rtn:3+per:channel", 80, "on"), "");
  EXPECT_NE(why("rtn:3+per:channel", 80, "prefix").find("prefix"), std::string::npos);
  EXPECT_EQ(why("rtn:3+per:channel+when:block", 80, "prefix"), "");
  EXPECT_EQ(why("kivi:2+when:block", 64, "prefix"), "");
  EXPECT_EQ(why("rtn:3+group:16+rotate:hadamard", 80, "on"),
            "kv rtn:3+group:16+rotate:hadamard: rotate: hadamard turns a whole head, a power of "
            "two of up to 256 channels, and head_dim 80 is none");
  EXPECT_EQ(why("kvarn:k4v2", 96, "on"),
            "kv kvarn:k4v2: kvarn turns a whole head, a power of two from 8 to 256 channels, and "
            "head_dim 96 is none");
  EXPECT_EQ(why("kvarn:k4v2", 128, "off"), "");
  EXPECT_EQ(why("q8_0", 32, "paged:8+speculative:4"), "");
  for (const char* kv : {"kivi:4", "tova:8"}) {
    EXPECT_NE(why(kv, 32, "speculative:4").find("cannot be taken back"), std::string::npos) << kv;
  }
}

TEST(KvPolicyCheck, ShippedCachesStandAlone) {
  const auto why = [](const std::string& kv, const char* cache, int ranks, KvModel model) {
    const auto spec = *parse_kv_policy(kv);
    const auto fits = check_kv_policy(spec, model);
    const auto mode = check_kv_policy(spec, *parse_cache_mode(cache), ranks);
    return !fits ? fits.error().text() : !mode ? mode.error().text() : std::string();
  };
  const KvModel model = {2, 4, 2, 64, Format::f32, false};
  KvModel slides = model, odd = model;
  slides.slides = true, odd.head_dim = 80;
  for (const char* kv : {"quanto:4", "hqq:2+axis:1", "kvarn:k4v2+form:shipped"}) {
    for (const char* cache : {"on", "off", "chunked:3", "paged:5"}) {
      EXPECT_EQ(why(kv, cache, 1, model), "") << kv << " " << cache;
    }
    EXPECT_NE(why(kv, "prefix", 1, model).find("cache: prefix"), std::string::npos);
    EXPECT_NE(why(kv, "recomputed", 1, model).find("cache: recomputed"), std::string::npos);
    EXPECT_NE(why(kv, "on", 2, model).find("gpus: 1 only"), std::string::npos);
    EXPECT_NE(why(kv, "on", 1, slides).find("sliding window"), std::string::npos);
  }
  EXPECT_NE(why("kvarn:k4v4+form:shipped", "on", 1, odd).find("head_dim 80"), std::string::npos);
}

TEST(KvPolicyView, OfQ8IsCodedForEveryone) {
  const auto policy = policy_of("q8_0");
  for (const std::int64_t q : {0, 1, 31, 500}) {
    EXPECT_EQ(policy->coded(100, q), (CodedView{CodedView::kAll, CodedView::kAll}));
    EXPECT_FALSE(policy->selects(100, q));
    EXPECT_TRUE(policy->acts({}, 100, q));
  }
}

TEST(KvPolicyView, OfKivi) {
  const auto policy = policy_of("kivi:2");
  struct Line {
    std::int64_t n, q;
    CodedView want;
  };
  const Line lines[] = {
      {100, 0, {0, 0}},      {100, 99, {0, 0}},     // the prompt sees all exact
      {100, 100, {96, 68}},  {100, 127, {96, 95}},  // the query that completes a group: still exact
      {100, 128, {128, 96}},                        // the next one does not
      {64, 64, {64, 32}},    {64, 95, {64, 63}},    // a prompt of whole groups has no residual of K
      {20, 20, {0, 0}},      {20, 31, {0, 0}},      // nothing is full yet
      {20, 32, {32, 0}},     {20, 33, {32, 1}},    {1, 1, {0, 0}}, {1, 40, {32, 8}},
  };
  for (const Line& line : lines) {
    EXPECT_EQ(policy->coded(line.n, line.q), line.want) << line.n << " " << line.q;
    EXPECT_EQ(policy->acts({}, line.n, line.q), line.want != CodedView{})
        << line.n << " " << line.q;
  }
}

TEST(KvPolicyView, OfGroupsAlongTokens) {
  struct Line {
    const char* text;
    std::int64_t n, q;
    CodedView want;
  };
  const std::int64_t all = CodedView::kAll;
  const Line lines[] = {
      {"rtn:4", 100, 0, {all, all}},
      {"rtn:4+per:channel", 100, 99, {0, 0}},
      {"rtn:4+per:channel", 100, 127, {96, 96}},
      {"rtn:4+per:channel", 100, 128, {128, 128}},
      {"rtn:4+per:channel+when:block", 100, 31, {0, 0}},
      {"rtn:4+per:channel+when:block", 100, 32, {32, 32}},
      {"rtn:4+group:8+per:channel+when:block", 100, 31, {24, 24}},
      {"kivi:2+when:block", 100, 33, {32, 32}},
      {"kvarn:k4v2", 300, 299, {0, 0}},
      {"kvarn:k4v2", 300, 300, {256, 256}},
      {"kvarn:k4v2", 100, 255, {0, 0}},  // the sink alone: nothing turns
      {"kvarn:k4v2", 100, 256, {256, 256}},
      {"kvarn:k4v2+group:32+sink:0", 10, 31, {0, 0}},
      {"kvarn:k4v2+group:32+sink:0", 10, 32, {32, 32}},
  };
  for (const Line& line : lines) {
    const auto policy = policy_of(line.text);
    EXPECT_EQ(policy->coded(line.n, line.q), line.want) << line.text << " " << line.q;
    EXPECT_EQ(policy->acts({}, line.n, line.q), line.want != CodedView{}) << line.text;
  }
  EXPECT_EQ(policy_of("kvarn:k4v2")->coded_from(), 128);
  EXPECT_EQ(policy_of("rtn:4")->coded_from(), 0);
  EXPECT_FALSE(policy_of("rtn:4+per:channel")->rotation({2, 4, 2, 64}).turns());
  EXPECT_EQ(policy_of("rtn:4+rotate:hadamard")->rotation({2, 4, 2, 64}).v, 64);
  EXPECT_EQ(policy_of("kvarn:k4v4")->rotation({2, 4, 2, 128}).k, 128);
}

TEST(KvPolicyCodec, OfTheGroup) {
  const KvModel model{2, 4, 2, 128, Format::bf16};
  const KvCodec keys = policy_of("kvarn:k4v2")->key_codec(model);
  const KvCodec values = policy_of("kvarn:k4v2")->value_codec(model);
  EXPECT_EQ(keys.bytes, 128 * 128 / 2 + 2 * (2 * 128 + 128));
  EXPECT_EQ(values.bytes, 128 * 128 / 4 + 2 * (128 + 2 * 128));
  EXPECT_EQ(keys.tokens, 128);
  EXPECT_EQ(keys.channels, 128);
  EXPECT_EQ(keys.iterations, 8);
  const KvCodec tokens = policy_of("rtn:3+per:channel+group:8")->value_codec(model);
  EXPECT_EQ(tokens.tokens, 8);
  EXPECT_EQ(tokens.channels, 1);
  EXPECT_EQ(tokens.bytes, 4 + 4) << "3 bytes of codes in whole fields";
  const KvCodec channels = policy_of("rtn:3")->key_codec(model);
  EXPECT_EQ(channels.tokens, 1);
  EXPECT_EQ(channels.channels, 32);
  EXPECT_EQ(channels.bytes, 4 + 12);
}

/// What the store relies on: whole tiles, never less than before, nothing past the query.
TEST(KvPolicyView, GrowsAndStaysBelowTheQuery) {
  for (const char* text :
       {"kivi:2", "kivi:4", "tova:5", "rtn:4+per:channel", "kvarn:k4v2+group:32+sink:64"}) {
    const auto policy = policy_of(text);
    for (std::int64_t n = 1; n < 150; ++n) {
      CodedView before;
      EXPECT_EQ(policy->coded(n, 0), before);
      for (std::int64_t q = 0; q < 300; ++q) {
        const CodedView view = policy->coded(n, q);
        ASSERT_GE(view.k, before.k);
        ASSERT_GE(view.v, before.v);
        ASSERT_LE(std::max(view.k, view.v), q);
        ASSERT_EQ(view.k % 32, 0);
        ASSERT_TRUE(q >= n || view == CodedView{}) << "a prompt row sees codes";
        before = view;
      }
    }
  }
}

TEST(KvPolicyTova, ActsFromThePromptsLastRowOn) {
  const auto policy = policy_of("tova:10");
  EXPECT_FALSE(policy->selects(50, 48));
  EXPECT_TRUE(policy->selects(50, 49));
  EXPECT_TRUE(policy->selects(50, 50));
  EXPECT_FALSE(policy->acts({}, 50, 49));
  EXPECT_TRUE(policy->acts({}, 50, 50));
  EXPECT_FALSE(policy->acts({}, 5, 10)) << "ten keys before it: none had to go";
  EXPECT_TRUE(policy->acts({}, 5, 11));
}

TEST(KvPolicyTova, KeepsTheHeaviest) {
  const auto kept = [](const char* text, const std::vector<double>& weights,
                       std::vector<std::uint8_t> keep) {
    const auto n = std::int64_t(weights.size());
    policy_of(text)->select({n, n - 1, 1, 1, n, true, weights}, keep);
    return keep;
  };
  using Mask = std::vector<std::uint8_t>;
  EXPECT_EQ(kept("tova:2", {0.1, 0.5, 0.4, 0.3}, Mask(4, 1)), (Mask{0, 1, 1, 0}));
  EXPECT_EQ(kept("tova:4", {0.1, 0.5, 0.4, 0.3}, Mask(4, 1)), Mask(4, 1)) << "a budget that covers";
  EXPECT_EQ(kept("tova:3", {0.2, 0.2, 0.2, 0.2, 0.2}, Mask(5, 1)), (Mask{1, 1, 1, 0, 0}))
      << "the lower position of a tie";
  EXPECT_EQ(kept("tova:2", {0.9, 0.8, 0.7, 0.6}, Mask{0, 1, 0, 1}), (Mask{0, 1, 0, 1}))
      << "what is gone stays gone and does not count";
  EXPECT_EQ(kept("tova:1", {0.9, 0.1, 0.2, 0.05}, Mask{0, 1, 1, 1}), (Mask{0, 0, 1, 0}))
      << "the newest may go";
  const double nan = double_of(0x7ff8000000000000ull);
  EXPECT_EQ(kept("tova:2", {nan, 0.0, 0.5, nan}, Mask(4, 1)), (Mask{0, 1, 1, 0}));
  EXPECT_EQ(kept("tova:2", {nan, nan, nan}, Mask(3, 1)), (Mask{1, 1, 0}));
}

}  // namespace
}  // namespace isobit
