// Comparing traces: what counts, what comes first, how bad it is, and when it says nothing.
#include "harness/judge/compare.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/unit/harness/store/store_samples.h"

namespace isobit {
namespace {

using namespace store_samples;

/// Moves every top logit of a row by `shift` and gives the row another digest.
void perturb(TokenRecord& token, float shift) {
  token.digest = digest_of(std::uint64_t(token.position) + 77);
  for (float& logit : token.top_logits) logit += shift;
}

void flip(TokenRecord& token) {
  perturb(token, 0.5F);
  token.id += 1;
  token.fed = token.id;
}

TEST(Compare, EqualTracesAreEqual) {
  const CellTrace a = sample_trace(3, 10, 1);
  const CellTrace b = a;
  const Comparison c = compare(a, b);
  EXPECT_TRUE(c.equal());
  EXPECT_EQ(c.tokens, 30);
  EXPECT_EQ(c.differing, 0);
  EXPECT_EQ(c.prompts, 3);
  EXPECT_EQ(c.divergence_index, (std::vector<std::int64_t>{-1, -1, -1}));
  EXPECT_EQ(c.severity, Severity::none);
  EXPECT_EQ(c.mistrust, "");
}

TEST(Compare, PromptsAreMatchedByTokensNotByPlace) {
  const CellTrace a = sample_trace(3, 10, 1);
  CellTrace b = a;
  std::swap(b.prompts[0], b.prompts[2]);
  EXPECT_TRUE(compare(a, b).equal());
  EXPECT_EQ(compare(a, b).tokens, 30);
}

TEST(Compare, TwinsAreMatchedInOrder) {
  CellTrace a = sample_trace(2, 10, 1);
  a.prompts[1].tokens_digest = a.prompts[0].tokens_digest;
  CellTrace b = a;
  EXPECT_TRUE(compare(a, b).equal());
  perturb(b.prompts[1].tokens[3], 0);
  const Comparison c = compare(a, b);
  ASSERT_TRUE(c.first);
  EXPECT_EQ(c.first->prompt, 1);
  b.prompts.pop_back();
  EXPECT_EQ(compare(a, b).first->what, "prompt missing");
}

TEST(Compare, OneBitInOneRowIsADifference) {
  const CellTrace a = sample_trace(3, 10, 1);
  CellTrace b = a;
  b.prompts[1].tokens[4].digest.bytes[15] ^= 1;
  const Comparison c = compare(a, b);
  ASSERT_TRUE(c.first);
  EXPECT_EQ(c.first->what, "digest");
  EXPECT_EQ(c.first->prompt, 1);
  EXPECT_EQ(c.first->prompt_id, "p1");
  EXPECT_EQ(c.first->index, 4);
  EXPECT_EQ(c.first->position, a.prompts[1].tokens[4].position);
  EXPECT_EQ(c.first->id_a, c.first->id_b);
  EXPECT_EQ(c.differing, 1);
  EXPECT_EQ(c.flipped, 0);
  EXPECT_EQ(c.tokens, 30);
  EXPECT_EQ(c.prompts_differing, 1);
  EXPECT_EQ(c.divergence_index, (std::vector<std::int64_t>{-1, 4, -1}));
  EXPECT_EQ(c.mistrust, "");
}

TEST(Compare, FreeRunningStopsAtTheFirstFlip) {
  const CellTrace a = sample_trace(1, 20, 1);
  CellTrace b = a;
  flip(b.prompts[0].tokens[6]);
  for (std::size_t i = 7; i < 20; ++i) flip(b.prompts[0].tokens[i]);
  const Comparison c = compare(a, b);
  EXPECT_EQ(c.tokens, 7);
  EXPECT_EQ(c.differing, 1);
  EXPECT_EQ(c.flipped, 1);
  EXPECT_EQ(c.first->what, "token");
  EXPECT_EQ(c.flip_margins.size(), 1U);
  EXPECT_TRUE(same_bytes(c.flip_margins[0], a.prompts[0].tokens[6].margin));
  EXPECT_EQ(c.severity, Severity::flipped);
  EXPECT_EQ(c.mistrust, "") << "few tokens were compared because a difference was found";
}

TEST(Compare, TeacherForcedGoesOnAfterAFlip) {
  CellTrace a = sample_trace(1, 20, 1);
  CellTrace b = a;
  flip(b.prompts[0].tokens[6]);
  flip(b.prompts[0].tokens[9]);
  for (std::size_t i = 0; i < 20; ++i) {
    a.prompts[0].tokens[i].fed = b.prompts[0].tokens[i].fed = 17;
  }
  const Comparison c = compare(a, b);
  EXPECT_EQ(c.tokens, 20);
  EXPECT_EQ(c.flipped, 2);
  EXPECT_EQ(c.flip_margins.size(), 1U);
}

TEST(Compare, ASamplerThatDrawsAnotherTokenFromEqualLogitsIsADifference) {
  const CellTrace a = sample_trace(1, 20, 1);
  CellTrace b = a;
  b.prompts[0].tokens[3].id += 1;
  b.prompts[0].tokens[3].fed += 1;
  const Comparison c = compare(a, b);
  EXPECT_FALSE(c.equal());
  EXPECT_EQ(c.differing, 1);
  EXPECT_EQ(c.first->a, c.first->b);
}

TEST(Compare, ATruncatedTraceIsADifference) {
  for (const bool fed_end : {false, true}) {
    const CellTrace a = sample_trace(1, 20, 1);
    CellTrace b = a;
    b.prompts[0].tokens.pop_back();
    if (fed_end) b.prompts[0].tokens.back().fed = -1;
    for (const Comparison& c : {compare(a, b), compare(b, a)}) {
      ASSERT_TRUE(c.first);
      EXPECT_EQ(c.first->what, "length");
      EXPECT_EQ(c.first->index, 19);
      EXPECT_EQ(c.first->position, a.prompts[0].tokens[19].position);
      EXPECT_EQ(c.prompts_differing, 1);
    }
  }
}

TEST(Compare, AMissingPromptIsADifferenceOnEitherSide) {
  const CellTrace a = sample_trace(2, 10, 1);
  CellTrace b = a;
  b.prompts.pop_back();
  for (const Comparison& c : {compare(a, b), compare(b, a)}) {
    ASSERT_TRUE(c.first);
    EXPECT_EQ(c.first->what, "prompt missing");
    EXPECT_EQ(c.first->prompt_id, "p1");
    EXPECT_EQ(c.prompts, 2);
    EXPECT_EQ(c.prompts_differing, 1);
  }
}

TEST(Compare, ShiftedPositionsAreADifference) {
  const CellTrace a = sample_trace(1, 10, 1);
  CellTrace b = a;
  for (TokenRecord& token : b.prompts[0].tokens) ++token.position;
  EXPECT_EQ(compare(a, b).first->what, "position");
}

TEST(Compare, SeverityComparesMarginWithDistance) {
  const auto severity = [](float margin, float shift) {
    CellTrace a = sample_trace(1, 10, 1);
    a.prompts[0].tokens[5].margin = margin;
    CellTrace b = a;
    perturb(b.prompts[0].tokens[5], shift);
    return compare(a, b).severity;
  };
  EXPECT_EQ(severity(1.0F, 0.25F), Severity::bits_only);
  EXPECT_EQ(severity(1.0F, 0.75F), Severity::near_tie);
  EXPECT_EQ(severity(0.0F, 0.0F), Severity::near_tie) << "an exact tie";
  EXPECT_EQ(severity(std::numeric_limits<float>::quiet_NaN(), 0.0F), Severity::near_tie);
}

TEST(Compare, SeveritySeesATokenThatEnteredTheList) {
  CellTrace a = sample_trace(1, 10, 1);
  a.prompts[0].tokens[5].margin = 1;
  CellTrace b = a;
  perturb(b.prompts[0].tokens[5], 0);
  b.prompts[0].tokens[5].top_ids[1] = 40'000;
  b.prompts[0].tokens[5].top_logits[1] = 2.95F;  // 0.65 above a's last
  EXPECT_EQ(compare(a, b).severity, Severity::near_tie);
}

TEST(Compare, NothingIsMistrusted) {
  const CellTrace a = sample_trace(2, 10, 1);
  const CellTrace none;
  EXPECT_NE(compare(none, none).mistrust, "");
  EXPECT_NE(compare(a, none).mistrust, "");
  EXPECT_FALSE(compare(a, none).equal());
  EXPECT_EQ(compare(a, a).mistrust, "a trace was compared with itself");
  CellTrace others = a;
  for (PromptTrace& prompt : others.prompts) prompt.tokens_digest[0] ^= 1;
  EXPECT_EQ(compare(a, others).mistrust, "nothing was compared");
}

TEST(Compare, FewTokensAreMistrustedUnlessThePromptEnded) {
  CellTrace a = sample_trace(1, 7, 1);
  CellTrace b = a;
  EXPECT_EQ(compare(a, b).mistrust, "only 7 tokens compared in prompt p0, min_tokens is 8");
  a.prompts[0].ended = b.prompts[0].ended = true;
  EXPECT_EQ(compare(a, b).mistrust, "");
}

TEST(Compare, ConstantLogitsAreMistrusted) {
  CellTrace a = sample_trace(1, 10, 1);
  for (TokenRecord& token : a.prompts[0].tokens) token.top_logits.fill(0);
  CellTrace b = a;
  EXPECT_EQ(compare(a, b).mistrust, "constant logits in prompt p0");
  a = sample_trace(1, 10, 1);
  for (TokenRecord& token : a.prompts[0].tokens) token.digest = digest_of(1);
  b = a;
  EXPECT_EQ(compare(a, b).mistrust, "the same logits at every position of prompt p0");
}

TEST(Compare, DifferentTeachersAreMistrusted) {
  CellTrace a = sample_trace(1, 10, 1);
  CellTrace b = a;
  a.prompts[0].tokens[8].fed = 5;
  b.prompts[0].tokens[8].fed = 6;
  EXPECT_EQ(compare(a, b).mistrust, "the sides were fed different tokens in prompt p0");
}

TEST(Compare, AGoldenIsComparedRowByRow) {
  PromptTrace prompt = sample_trace(1, 10, 1).prompts[0];
  prompt.tokens.back().fed = -1;
  const GoldenBlock golden = make_block(std::string(64, '0'), "", prompt);
  const Comparison same = compare(prompt, golden);
  EXPECT_TRUE(same.equal());
  EXPECT_EQ(same.tokens, 10);
  EXPECT_EQ(same.mistrust, "");

  PromptTrace changed = prompt;
  changed.tokens[3].digest = digest_of(5);
  EXPECT_EQ(compare(changed, golden).severity, Severity::bits_only);
  EXPECT_EQ(compare(changed, golden).first->index, 3);
  flip(changed.tokens[6]);
  const Comparison flipped = compare(changed, golden);
  EXPECT_EQ(flipped.severity, Severity::flipped);
  EXPECT_EQ(flipped.tokens, 7);
  EXPECT_EQ(flipped.differing, 2);

  changed = prompt;
  changed.tokens.resize(8);
  EXPECT_EQ(compare(changed, golden).first->what, "length");
}

TEST(Compare, ATaughtGoldenGoesOnAfterAFlip) {
  PromptTrace prompt = sample_trace(1, 10, 1).prompts[0];
  const GoldenBlock golden = make_block(std::string(64, '0'), "", prompt);
  for (TokenRecord& token : prompt.tokens) token.fed = 17;
  flip(prompt.tokens[2]);
  prompt.tokens[2].fed = 17;
  EXPECT_EQ(compare(prompt, golden).tokens, 10);
}

}  // namespace
}  // namespace isobit
