// What gc deletes, and what it must not: what is new, reused or perhaps still going on.
#include <gtest/gtest.h>

#include "harness/run.h"
#include "tests/unit/harness/store/store_samples.h"

namespace isobit {
namespace {

using namespace store_samples;

TEST_F(StoreTest, GcKeepsWhatIsNewOrReused) {
  std::vector<std::int64_t> runs;
  for (int i = 0; i < 5; ++i) runs.push_back(begin());
  const CellInfo used = executed(runs[0], 1, sample_trace(1, 8, 1));
  executed(runs[1], 2, sample_trace(1, 8, 1));
  const CellInfo chained = executed(runs[2], 3, sample_trace(1, 8, 1));
  reused(runs[2], 1, used);     // run 2 goes, so this use does not hold run 0 …
  reused(runs[4], 1, used);     // … but this one does
  reused(runs[1], 3, chained);  // between two runs that both go
  EXPECT_EQ(*store_->gc(2, true), 2);
  EXPECT_EQ(store_->runs()->size(), 5U);
  EXPECT_EQ(*store_->gc(2, false), 2);
  const auto left = store_->runs();
  ASSERT_EQ(left->size(), 3U);
  EXPECT_EQ(left->back().id, runs[0]);
  EXPECT_TRUE(store_->trace((*store_->cells(runs[4]))[0], false));
  EXPECT_EQ(rows("SELECT count(*) FROM token"), std::vector<std::string>{"8"});
  EXPECT_EQ(*store_->gc(2, false), 0);
  EXPECT_GT(begin(), runs[4]) << "identifiers are not used again";
}

TEST_F(StoreTest, GcSparesARunThatMayBeGoingOn) {
  RunInfo now = sample_run(), killed = sample_run(), ended = sample_run();
  now.started = ended.started = utc_now();
  ended.id = begin(ended);
  ended.exit_code = kExitInterrupted;  // an interrupt leaves no time of its end
  ASSERT_TRUE(store_->end_run(ended));
  killed.id = begin(killed);
  now.id = begin(now);
  std::vector<CellInfo> cells{sample_cell(now.id, 1)};
  ASSERT_TRUE(store_->plan(cells));
  const std::int64_t newest = begin(now);
  EXPECT_EQ(*store_->gc(1, true), 2);
  EXPECT_EQ(*store_->gc(1, false), 2);
  const auto left = store_->runs();
  ASSERT_EQ(left->size(), 2U);
  EXPECT_EQ((*left)[0].id, newest);
  EXPECT_EQ((*left)[1].id, now.id);
  EXPECT_TRUE(store_->finish(cells[0], sample_trace(1, 8, 1)));
  now.exit_code = 0;
  ASSERT_TRUE(store_->end_run(now));
  EXPECT_EQ(*store_->gc(1, false), 1) << "and goes when it has ended";
}

}  // namespace
}  // namespace isobit
