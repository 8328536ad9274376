// Differences between two stored cells: which rows, and which are missing.
#include <gtest/gtest.h>

#include "tests/unit/harness/store/store_samples.h"

namespace isobit {
namespace {

using namespace store_samples;
using StoreDiff = StoreTest;

TEST_F(StoreDiff, OfEqualCellsReadsNothingAndCountsAll) {
  const std::int64_t run = begin();
  const CellInfo a = executed(run, 1, sample_trace(3, 10, 1));
  const CellInfo b = executed(run, 2, sample_trace(3, 10, 1));
  auto diff = store_->diff(a, b);
  ASSERT_TRUE(diff);
  EXPECT_TRUE(diff->equal());
  EXPECT_EQ(diff->compared, 30);
  EXPECT_EQ(diff->differing, 0);
}

TEST_F(StoreDiff, FindsTheFirstRowOfEachPrompt) {
  const std::int64_t run = begin();
  CellTrace changed = sample_trace(3, 10, 1);
  changed.prompts[0].tokens[4].digest = digest_of(1);  // bits only
  changed.prompts[0].tokens[6].digest = digest_of(2);
  changed.prompts[2].tokens[3].id += 1;  // a flip: the rest has other inputs
  changed.prompts[2].tokens[3].fed += 1;
  changed.prompts[2].tokens[7].digest = digest_of(3);
  const CellInfo a = executed(run, 1, sample_trace(3, 10, 1));
  const CellInfo b = executed(run, 2, changed);
  auto diff = store_->diff(a, b);
  ASSERT_TRUE(diff);
  EXPECT_EQ(diff->compared, 10 + 10 + 4);
  EXPECT_EQ(diff->differing, 3);
  EXPECT_EQ(diff->flipped, 1);
  ASSERT_EQ(diff->first.size(), 2U);
  EXPECT_EQ(diff->first[0].prompt_id, "p0");
  EXPECT_EQ(diff->first[0].position, changed.prompts[0].tokens[4].position);
  EXPECT_EQ(diff->first[0].b, digest_of(1));
  EXPECT_EQ(diff->first[1].prompt, 2);
  EXPECT_EQ(diff->first[1].id_b, diff->first[1].id_a + 1);
}

TEST_F(StoreDiff, SeesMissingRowsAndPrompts) {
  const std::int64_t run = begin();
  CellTrace shorter = sample_trace(3, 10, 1);
  shorter.prompts[0].tokens.pop_back();
  shorter.prompts.pop_back();
  const CellInfo a = executed(run, 1, sample_trace(3, 10, 1));
  const CellInfo b = executed(run, 2, shorter);
  auto diff = store_->diff(a, b);
  ASSERT_TRUE(diff);
  EXPECT_EQ(diff->only_a, 11);
  EXPECT_EQ(diff->only_b, 0);
  EXPECT_EQ(diff->compared, 19);
  ASSERT_EQ(diff->first.size(), 2U);
  EXPECT_TRUE(diff->first[0].b.none());
  EXPECT_EQ(diff->first[1].position, -1);
  auto back = store_->diff(b, a);
  ASSERT_TRUE(back);
  EXPECT_EQ(back->only_b, 11);
  EXPECT_FALSE(back->equal());
}

}  // namespace
}  // namespace isobit
