// Cache modes by their text: single words, maps, what contradicts.
#include "runtime/cache/mode.h"

#include <gtest/gtest.h>

namespace isobit {
namespace {

std::string name_of(const std::string& text) {
  const auto mode = parse_cache_mode(text);
  return mode ? mode->name : mode.error().text();
}

TEST(CacheModeText, SingleModesKeepTheirNames) {
  for (const char* text :
       {"on", "off", "chunked:17", "paged:16", "prefix", "recomputed", "speculative:4"}) {
    EXPECT_EQ(name_of(text), text);
  }
}

TEST(CacheModeText, JoinedModesAreSortedAndSayNothingTwice) {
  EXPECT_EQ(name_of("prefix:true+paged:16+chunked:17"), "chunked:17+paged:16+prefix:true");
  EXPECT_EQ(name_of("prefix+paged:16"), "paged:16+prefix:true");
  EXPECT_EQ(name_of("recomputed:yes+chunked:5"), "chunked:5+recomputed:true");
  EXPECT_EQ(name_of("prefix:true"), "prefix");
  EXPECT_EQ(name_of("recomputed:true+prefix:false"), "recomputed");
  EXPECT_EQ(name_of("paged:16+prefix:false"), "paged:16");
  EXPECT_EQ(name_of("prefix:false"), "on");
}

TEST(CacheModeText, WhatJoinedModesMean) {
  const CacheMode all = *parse_cache_mode("chunked:17+paged:8+prefix:true");
  EXPECT_TRUE(all.keeps && all.shuffled_pages && all.shares_prefix && !all.recomputes);
  EXPECT_EQ(all.chunk, 17);
  EXPECT_EQ(all.page_size, 8);
  const CacheMode some = *parse_cache_mode("chunked:17+prefix:true");
  EXPECT_EQ(some.page_size, parse_cache_mode("prefix")->page_size);
  EXPECT_FALSE(some.shuffled_pages);
  EXPECT_EQ(parse_cache_mode("speculative:4+prefix:true")->drafts, 4);
  EXPECT_EQ(some.drafts, 0);
  const CacheMode rebuilt = *parse_cache_mode("paged:8+recomputed:true");
  EXPECT_TRUE(rebuilt.recomputes && rebuilt.shuffled_pages);
}

TEST(CacheModeText, SharedPositionsAreWholePagesAndLeaveOneToken) {
  const CacheMode mode = *parse_cache_mode("paged:8+prefix:true");
  EXPECT_EQ(mode.shared_positions(1), 0);
  EXPECT_EQ(mode.shared_positions(8), 0);
  EXPECT_EQ(mode.shared_positions(9), 8);
  EXPECT_EQ(mode.shared_positions(40), 32);
  EXPECT_EQ(CacheMode{}.shared_positions(600), 0);
}

TEST(CacheModeText, ErrorsSayWhatIsWrong) {
  EXPECT_EQ(name_of("paged:16+prefix:true+recomputed:true"),
            "bad cache mode 'paged:16+prefix:true+recomputed:true': recomputed rebuilds every "
            "position, so no prefix could be shared");
  EXPECT_EQ(name_of("paged:16+paged:16"),
            "bad cache mode 'paged:16+paged:16': paged is given twice");
  EXPECT_EQ(name_of("prefix:16"), "bad cache mode 'prefix:16': prefix is true or false");
  for (const char* text : {"", "On", "paged", "paged:", "paged:0", "paged:65537", "chunked:1e3",
                           "off+paged:16", "on+prefix", "paged:16+", "+paged:16", "page:16",
                           "speculative", "speculative:0", "speculative:65"}) {
    EXPECT_FALSE(parse_cache_mode(text)) << text;
  }
}

}  // namespace
}  // namespace isobit
