// What an ensemble measured comes back as it was stored.
#include <gtest/gtest.h>

#include "tests/unit/harness/store/store_samples.h"

namespace isobit {
namespace {

using namespace store_samples;

class StoredEnsembles : public StoreTest {};

TEST_F(StoredEnsembles, ComeBackWhole) {
  const std::int64_t run = begin();
  std::vector<CellInfo> cells;
  for (int i = 0; i < 2; ++i) cells.push_back(executed(run, i, sample_trace(1, 8, 1)));
  GroupResult group;
  group.rule = "ensemble bins 15 across weights";
  group.cells = {0, 1};
  EnsembleResult& kept = group.ensemble;
  kept.targets = 12, kept.prompts = 4, kept.bins = 15;
  kept.alone = {{"bsr:4", 0.5, 0.25, 0.125, 3}, {"bsr:4+seed:1", 0.1, 1, 0, 0}};
  kept.sizes = {{1, 0.5, 0.25, 0.125, 0.5, 0, 3}, {2, 0.1, 0, 0.3, 0.4, 0.3, 4}};
  kept.members = {2, 0.01, 0.02};
  kept.runtime = {3, 1e-300, 0};
  ASSERT_TRUE(store_->judge(cells, {group, GroupResult{}}));

  const auto groups = store_->groups(run);
  ASSERT_TRUE(groups) << groups.error().text();
  ASSERT_EQ(groups->size(), 2U);
  const EnsembleResult& e = (*groups)[0].ensemble;
  EXPECT_EQ(std::tie(e.targets, e.prompts, e.bins), std::make_tuple(12, 4, 15));
  ASSERT_EQ(e.alone.size(), 2U);
  EXPECT_EQ(e.alone[1].weights, "bsr:4+seed:1");
  EXPECT_EQ(std::tie(e.alone[0].nll, e.alone[0].error, e.alone[0].ece, e.alone[0].right),
            std::make_tuple(0.5, 0.25, 0.125, 3));
  ASSERT_EQ(e.sizes.size(), 2U);
  EXPECT_EQ(std::tie(e.sizes[1].members, e.sizes[1].nll, e.sizes[1].error, e.sizes[1].ece),
            std::make_tuple(2, 0.1, 0.0, 0.3));
  EXPECT_EQ(std::tie(e.sizes[1].member_nll, e.sizes[1].ambiguity, e.sizes[1].right),
            std::make_tuple(0.4, 0.3, 4));
  EXPECT_EQ(std::tie(e.members.of, e.members.nll, e.members.probability),
            std::make_tuple(2, 0.01, 0.02));
  EXPECT_EQ(std::tie(e.runtime.of, e.runtime.nll), std::make_tuple(3, 1e-300));
  EXPECT_TRUE((*groups)[1].ensemble.sizes.empty());
}

}  // namespace
}  // namespace isobit
