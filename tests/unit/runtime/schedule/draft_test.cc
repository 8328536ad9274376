// The n-gram rule of drafts, by hand.
#include "runtime/schedule/draft.h"

#include <gtest/gtest.h>

namespace isobit {
namespace {

using Tokens = std::vector<std::int32_t>;

TEST(Draft, FollowsTheLatestOccurrenceOfTheLongestSuffix) {
  EXPECT_EQ(drafted_tokens(Tokens{1, 2, 3, 4, 9, 1, 2, 3}, 2), (Tokens{4, 9}));
  EXPECT_EQ(drafted_tokens(Tokens{1, 2, 3, 4, 8, 2, 3, 5, 1, 2, 3}, 2), (Tokens{4, 8}))
      << "three tokens before two, though these occurred later";
  EXPECT_EQ(drafted_tokens(Tokens{1, 2, 5, 1, 2, 6, 7, 1, 2}, 3), (Tokens{6, 7, 1}))
      << "the later of two occurrences";
  EXPECT_EQ(drafted_tokens(Tokens{3, 8, 5, 3}, 2), (Tokens{8, 5})) << "one token";
}

TEST(Draft, GoesOnInItself) {
  EXPECT_EQ(drafted_tokens(Tokens{7, 7}, 4), (Tokens{7, 7, 7, 7}));
  EXPECT_EQ(drafted_tokens(Tokens{5, 1, 2, 1, 2}, 5), (Tokens{1, 2, 1, 2, 1}));
}

TEST(Draft, NothingFoundIsNothingDrafted) {
  EXPECT_EQ(drafted_tokens(Tokens{1, 2, 3, 4}, 3), Tokens{});
  EXPECT_EQ(drafted_tokens(Tokens{1}, 3), Tokens{});
  EXPECT_EQ(drafted_tokens(Tokens{}, 3), Tokens{});
  EXPECT_EQ(drafted_tokens(Tokens{7, 7}, 0), Tokens{});
}

}  // namespace
}  // namespace isobit
