// Added tokens against their definition, walked place by place, and how much of a text is looked
// at.
#include "runtime/tokenizer/added.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace isobit {
namespace {

using Cut = std::vector<std::pair<std::int32_t, std::string>>;

Cut cut_of(const AddedTokens& added, std::string_view text) {
  std::vector<Segment> segments;
  added.split(text, segments);
  Cut cut;
  for (const Segment& segment : segments) cut.emplace_back(segment.id, segment.text);
  return cut;
}

/// The definition for texts whose only white space is the blank: from every place the longest
/// token, of two alike the first.
Cut defined(const std::vector<AddedToken>& tokens, const std::string& text) {
  Cut cut;
  std::size_t done = 0;
  for (std::size_t at = 0; at < text.size();) {
    const AddedToken* best = nullptr;
    for (const AddedToken& token : tokens) {
      const bool here = text.compare(at, token.content.size(), token.content) == 0;
      if (here && (best == nullptr || token.content.size() > best->content.size())) best = &token;
    }
    if (best == nullptr) {
      ++at;
      continue;
    }
    std::size_t start = at, end = at + best->content.size();
    at = end;
    while (best->lstrip && start > done && text[start - 1] == ' ') --start;
    while (best->rstrip && end < text.size() && text[end] == ' ') ++end;
    if (done < start) cut.emplace_back(-1, text.substr(done, start - done));
    cut.emplace_back(best->id, text.substr(start, end - start));
    done = end;
  }
  if (done < text.size()) cut.emplace_back(-1, text.substr(done));
  return cut;
}

/// Numbers below a bound, the same in every run.
class Draw {
 public:
  std::uint32_t below(std::uint32_t bound) {
    state_ = state_ * 6364136223846793005U + 1442695040888963407U;
    return static_cast<std::uint32_t>(state_ >> 33) % bound;
  }
  std::string text(std::uint32_t size, std::uint32_t letters) {
    std::string out;
    for (std::uint32_t i = 0; i < size; ++i) out += "ab c"[below(letters)];
    return out;
  }

 private:
  std::uint64_t state_ = 5;
};

TEST(AddedTokens, AreWhatTheDefinitionSays) {
  Draw draw;
  std::size_t found = 0;
  for (int round = 0; round < 3000; ++round) {
    const std::uint32_t letters = 2 + draw.below(3);
    std::vector<AddedToken> tokens;
    const auto count = static_cast<std::int32_t>(1 + draw.below(7));
    for (std::int32_t id = 0; id < count; ++id) {
      const std::string content = draw.text(1 + draw.below(6), letters);
      tokens.push_back({id, content, draw.below(3) == 0, draw.below(3) == 0});
    }
    const AddedTokens added(tokens);
    for (int each = 0; each < 5; ++each) {
      const std::string text = draw.text(draw.below(40), letters);
      const Cut cut = cut_of(added, text);
      ASSERT_EQ(cut, defined(tokens, text)) << text;
      found += cut.size();
    }
  }
  EXPECT_GT(found, 50000U);
}

TEST(AddedTokens, ATokenInsideALongerOneIsFoundWhenThatOneDoesNotEnd) {
  const AddedTokens added({{0, "<|im|>"}, {1, "<|im|><|start|>"}, {2, "im"}});
  EXPECT_EQ(cut_of(added, "x<|im|><|start|"), (Cut{{-1, "x"}, {0, "<|im|>"}, {-1, "<|start|"}}));
  EXPECT_EQ(cut_of(added, "<|im|><|start|>im"), (Cut{{1, "<|im|><|start|>"}, {2, "im"}}));
  EXPECT_EQ(cut_of(AddedTokens(), "x"), (Cut{{-1, "x"}}));
  EXPECT_EQ(cut_of(added, ""), Cut{});
}

TEST(AddedTokens, LooksAtAFewPlacesForEachByteOfAnyText) {
  const std::string many(20000, 'a');
  const std::string blanks(20000, ' ');
  const std::string wide = "\xe3\x80\x80";  // a space of three bytes
  std::string wides;
  for (int i = 0; i < 5000; ++i) wides += wide;
  const struct {
    const char* what;
    std::vector<AddedToken> tokens;
    std::string text;
  } cases[] = {
      {"almost a long token at every place", {{0, many.substr(0, 6000) + "b"}}, many},
      {"the same from its end", {{0, "b" + many.substr(0, 6000)}}, many},
      {"long tokens that fall back by one byte", {{0, "ba" + many}, {1, "ca" + many}}, many + "x"},
      {"blanks that swallow blanks", {{0, " ", false, true}}, blanks},
      {"blanks that swallow blanks before them", {{0, " ", true, false}}, blanks},
      {"wide blanks that swallow blanks", {{0, wide, true, true}}, wides},
  };
  for (const auto& each : cases) {
    std::vector<Segment> segments;
    const std::int64_t looks = AddedTokens(each.tokens).split(each.text, segments);
    EXPECT_LE(looks, static_cast<std::int64_t>(4 * each.text.size())) << each.what;
    EXPECT_FALSE(segments.empty()) << each.what;
  }
}

}  // namespace
}  // namespace isobit
