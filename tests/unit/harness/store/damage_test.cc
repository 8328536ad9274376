// Rows that are no longer those that were stored: no cell stands on them, whoever changed them.
#include <gtest/gtest.h>

#include <ostream>

#include "tests/unit/harness/store/store_samples.h"

namespace isobit {
namespace {

using namespace store_samples;

struct Damage {
  const char* name;
  const char* sql;    // ?: the cell
  const char* words;  // in what is said of it
};

void PrintTo(const Damage& damage, std::ostream* out) {
  *out << damage.name;
}

const Damage kDamages[] = {
    {"TokenDigest",
     "UPDATE token SET digest = zeroblob(16) WHERE cell = ? AND prompt = 0 AND position = 11",
     "the token rows of prompt p0 do not give its root"},
    {"TokenId", "UPDATE token SET id = id + 1 WHERE cell = ? AND prompt = 1 AND position = 12",
     "the token rows of prompt p1 do not give its root"},
    {"TokenPosition",
     "UPDATE token SET position = 99 WHERE cell = ? AND prompt = 1 AND position = 12",
     "the token rows of prompt p1 do not give its root"},
    {"TokenLost", "DELETE FROM token WHERE cell = ? AND prompt = 1 AND position = 17",
     "prompt p1 has 7 token rows, not the 8 that were stored"},
    {"TokenCount", "UPDATE prompt SET token_count = 9 WHERE cell = ? AND prompt = 0",
     "prompt p0 has 8 token rows, not the 9 that were stored"},
    {"PromptRoot", "UPDATE prompt SET root = zeroblob(32) WHERE cell = ? AND prompt = 0",
     "the token rows of prompt p0 do not give its root"},
    {"PromptTokens", "UPDATE prompt SET tokens_digest = zeroblob(32) WHERE cell = ? AND prompt = 0",
     "its prompts do not give its root"},
    {"CellRoot", "UPDATE cell SET root = zeroblob(32) WHERE id = ?",
     "its prompts do not give its root"},
    {"FirstPromptLost", "DELETE FROM prompt WHERE cell = ? AND prompt = 0",
     "a prompt it does not have"},
    {"LastPromptLost", "DELETE FROM prompt WHERE cell = ? AND prompt = 1",
     "a prompt it does not have"},
    {"TokensOfNoPrompt", "UPDATE token SET prompt = 7 WHERE cell = ? AND prompt = 1",
     "a prompt it does not have"},
    {"Observation",
     "UPDATE observation SET digests = substr(digests, 22) WHERE cell = ? AND position = 11",
     "at position 11 do not give their root"},
    {"ObservationRoot",
     "UPDATE observation SET root = zeroblob(32) WHERE cell = ? AND position = 11",
     "at position 11 do not give their root"},
    {"ObservationSite",
     "UPDATE observation SET digests = CAST(x'00000000ff' || zeroblob(16) AS BLOB)"
     " WHERE cell = ?",
     "an observation of an unknown site"},
};

class StoreDamage : public StoreTest, public testing::WithParamInterface<Damage> {
 protected:
  void spoil(const CellInfo& cell) {
    std::string sql = GetParam().sql;
    sql.replace(sql.find('?'), 1, std::to_string(cell.id));
    tamper("PRAGMA foreign_keys = OFF; " + sql);
  }
};

INSTANTIATE_TEST_SUITE_P(Of, StoreDamage, testing::ValuesIn(kDamages),
                         [](const auto& each) { return std::string(each.param.name); });

TEST_P(StoreDamage, IsSeenBeforeACellStandsOnIt) {
  const CellInfo source = executed(begin(), 1, sample_trace(2, 8, 1, TraceLevel::layers));
  EXPECT_EQ(*store_->damage(source), "");
  spoil(source);
  std::vector<CellInfo> cells{sample_cell(begin(), 1)};
  ASSERT_TRUE(store_->plan(cells));
  const auto reuse = store_->reuse(cells[0], source, true);
  ASSERT_TRUE(reuse) << reuse.error().text();
  EXPECT_EQ(reuse->outcome, Reuse::Outcome::damaged);
  EXPECT_NE(reuse->damage.find(GetParam().words), std::string::npos) << reuse->damage;
  EXPECT_EQ(*store_->damage(source), reuse->damage);
  EXPECT_TRUE((**store_->cell(cells[0].id)).pending) << "nothing was taken";
  ASSERT_TRUE(store_->finish(cells[0], sample_trace(2, 8, 1))) << "it can be executed";
  EXPECT_EQ((*store_->find({source.key}))[0]->id, cells[0].id) << "and is found from then on";
}

TEST_P(StoreDamage, IsSeenThroughACellThatReusesIt) {
  const CellInfo source = executed(begin(), 1, sample_trace(2, 8, 1, TraceLevel::layers));
  const CellInfo cell = reused(begin(), 1, source);
  spoil(source);
  EXPECT_NE(*store_->damage(cell), "");
}

/// Reports look cells up by the numbers that a group's row holds.
TEST_F(StoreTest, AGroupThatNamesACellOfNoRunIsAnError) {
  const std::int64_t run = begin();
  const std::vector<CellInfo> cells{executed(run, 0, sample_trace(1, 8, 1)),
                                    executed(run, 1, sample_trace(1, 8, 2))};
  GroupResult group;
  group.rule = "differ across batch";
  group.cells = {0, 1};
  group.equal_pairs = {{0, 1}};
  group.base = 0;
  group.pairs.resize(1);
  group.pairs[0].cell = 1;
  ASSERT_TRUE(store_->judge(cells, {group}));
  ASSERT_TRUE(store_->groups(run));
  for (const char* change :
       {"'$.pairs[0].cell', 2", "'$.pairs[0].cell', -1", "'$.base', 2", "'$.base', -1",
        "'$.base', -2", "'$.equal_pairs[0][1]', 2", "'$.equal_pairs[0][0]', -7"}) {
    const std::string before = rows("SELECT measured FROM contract_group")[0];
    tamper("UPDATE contract_group SET measured = json_set(measured, " + std::string(change) + ")");
    const auto groups = store_->groups(run);
    ASSERT_FALSE(groups) << change;
    EXPECT_NE(groups.error().message.find("a cell that its run does not have"), std::string::npos);
    tamper("UPDATE contract_group SET measured = '" + before + "'");
    EXPECT_TRUE(store_->groups(run)) << change;
  }
}

TEST_F(StoreTest, ASourceThatWentMeanwhileIsNotAnError) {
  RunInfo old = sample_run();
  old.id = begin(old);
  const CellInfo source = executed(old.id, 1, sample_trace(2, 8, 1));
  std::vector<CellInfo> cells{sample_cell(begin(), 1)};
  ASSERT_TRUE(store_->plan(cells));
  tamper("PRAGMA foreign_keys = ON; DELETE FROM run WHERE id = " + std::to_string(old.id));
  const auto reuse = store_->reuse(cells[0], source, true);
  ASSERT_TRUE(reuse) << reuse.error().text();
  EXPECT_EQ(reuse->outcome, Reuse::Outcome::gone);
  EXPECT_TRUE(store_->finish(cells[0], sample_trace(2, 8, 1)));
}

}  // namespace
}  // namespace isobit
