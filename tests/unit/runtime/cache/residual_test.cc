// The residual policy by its text, and what it cannot serve.
#include "runtime/cache/residual.h"

#include <gtest/gtest.h>

#include "runtime/cache/policy.h"

namespace isobit {
namespace {

std::string text_of(const std::string& text) {
  const auto spec = parse_kv_policy(text);
  if (!spec) return spec.error().text();
  EXPECT_EQ(spec->policy, nullptr);
  EXPECT_TRUE(spec->residual && !spec->exact());
  return spec->text;
}

TEST(Residual, EqualMeaningsHaveEqualText) {
  EXPECT_EQ(text_of("residual:every_layer"), "residual:every_layer");
  EXPECT_EQ(text_of("budget:0+residual:every_layer"), "residual:every_layer");
  EXPECT_EQ(text_of("residual:(every:1)"), "residual:every_layer");
  EXPECT_EQ(text_of("budget:16+residual:(every:2)"), "residual:(every:2)+budget:16");
  EXPECT_EQ(text_of("residual:embedding+budget:64"), "residual:embedding+budget:64");
}

TEST(Residual, ErrorsSayWhatIsWrong) {
  const std::string known = "residual is every_layer, embedding or {every: k}";
  for (const char* text : {"residual", "residual:every", "residual:(every)", "residual:2",
                           "residual:(every:2+budget:3)"}) {
    EXPECT_NE(text_of(text).find(known), std::string::npos) << text;
  }
  EXPECT_NE(text_of("residual:(every:0)").find("every is a number of layers from 1 to 4096"),
            std::string::npos);
  EXPECT_NE(text_of("residual:embedding+budget:-1").find("option budget of residual"),
            std::string::npos);
  EXPECT_NE(text_of("residual:embedding+group:2").find("group"), std::string::npos);
  EXPECT_NE(text_of("chain:q8_0>(residual:embedding)").find("residual is no member of a chain"),
            std::string::npos);
}

TEST(Residual, WhatItCannotServe) {
  const auto why = [](const std::string& text, const std::string& cache) {
    const auto spec = *parse_kv_policy(text);
    const auto model = check_kv_policy(spec, KvModel{30, 9, 3, 64});
    const auto mode = check_kv_policy(spec, *parse_cache_mode(cache));
    return !model ? model.error().text() : !mode ? mode.error().text() : std::string();
  };
  EXPECT_EQ(why("residual:(every:31)", "on"),
            "kv residual:(every:31): every 31 layers is more than the model's 30");
  EXPECT_NE(why("residual:embedding", "paged:8+prefix:true").find("cache: prefix"),
            std::string::npos);
  for (const char* cache : {"on", "off", "paged:16", "chunked:3", "recomputed", "speculative:4"}) {
    EXPECT_EQ(why("residual:(every:30)+budget:7", cache), "") << cache;
  }
}

TEST(Residual, LayersWithACheckpoint) {
  const ResidualSpec some{4, 0}, none{0, 0};
  EXPECT_EQ(ResidualSpec{}.checkpoints(30), 30);
  EXPECT_EQ(some.checkpoints(30), 8);
  EXPECT_EQ(none.checkpoints(30), 0);
  EXPECT_TRUE(some.checkpoint(0) && some.checkpoint(28));
  EXPECT_FALSE(some.checkpoint(3));
  EXPECT_FALSE(none.checkpoint(0));
}

}  // namespace
}  // namespace isobit
