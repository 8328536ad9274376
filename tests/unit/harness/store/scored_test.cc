// Scores and log-probabilities in the database, and the step from one that had neither.
#include "tests/unit/harness/store/store_samples.h"

namespace isobit::store_samples {
namespace {

ScoreValue sample_value() {
  ScoreValue value;
  value.score = "ifeval", value.value_name = "prompt_strict";
  value.n = 40, value.right = 17, value.left_out = 3;
  value.value = 17.0 / 40, value.error = 0.1 + 0.2;
  value.reference = 1;
  value.difference = -1e-300;
  value.gained = 2, value.lost = 5, value.p = 0.453125;
  return value;
}

TEST_F(StoreTest, ScoresAreReadBackWhole) {
  const std::int64_t run = begin();
  std::vector<CellInfo> cells = {executed(run, 0, sample_trace(1, 4, 1)),
                                 executed(run, 1, sample_trace(1, 4, 1))};
  ScoreValue none;
  none.score = "likelihood", none.value_name = "nll", none.reason = "nothing was fed";
  cells[0].scores = {sample_value(), none};
  ASSERT_TRUE(store_->judge(cells, {}));
  const auto read = store_->scores(run);
  ASSERT_TRUE(read) << read.error().text();
  ASSERT_EQ(read->size(), 2U);
  ASSERT_EQ((*read)[0].size(), 2U);
  EXPECT_TRUE((*read)[1].empty());
  const ScoreValue &a = (*read)[0][0], b = sample_value();
  EXPECT_EQ(std::tie(a.score, a.value_name, a.n, a.right, a.left_out, a.reason, a.reference),
            std::tie(b.score, b.value_name, b.n, b.right, b.left_out, b.reason, b.reference));
  EXPECT_EQ(std::tie(a.gained, a.lost), std::tie(b.gained, b.lost));
  EXPECT_TRUE(same_bytes(*a.value, *b.value) && same_bytes(*a.error, *b.error));
  EXPECT_TRUE(same_bytes(*a.difference, *b.difference) && same_bytes(*a.p, *b.p));
  const ScoreValue& c = (*read)[0][1];
  EXPECT_FALSE(c.value || c.error || c.difference || c.p);
  EXPECT_EQ(c.right, -1);
  EXPECT_EQ(c.reference, -1);
  EXPECT_EQ(c.reason, "nothing was fed");
  for (const char* place : {"2", "-2", "9223372036854775807"}) {
    tamper("UPDATE score_value SET reference = " + std::string(place));
    EXPECT_FALSE(store_->scores(run)) << place;
  }
  ASSERT_TRUE(store_->gc(0, false));
  EXPECT_EQ(rows("SELECT count(*) FROM score_value"), std::vector<std::string>{"0"});
}

TEST_F(StoreTest, AFedLogitIsKeptToItsBitsAndZeroIsOne) {
  CellTrace trace = sample_trace(1, 3, 1);
  trace.prompts[0].tokens[0].fed_logit = 0.0;
  trace.prompts[0].tokens[2].fed_logit = -0.1 - 0.2;
  const CellInfo cell = executed(begin(), 0, trace);
  const auto read = store_->trace(cell, false);
  ASSERT_TRUE(read);
  EXPECT_TRUE(same_bytes(read->prompts[0].tokens[0].fed_logit, 0.0));
  EXPECT_NE(read->prompts[0].tokens[1].fed_logit, read->prompts[0].tokens[1].fed_logit);
  EXPECT_TRUE(same_bytes(read->prompts[0].tokens[2].fed_logit, -0.1 - 0.2));
  EXPECT_EQ(rows("SELECT count(*) FROM token WHERE fed_logit IS NULL"),
            std::vector<std::string>{"1"});
}

TEST(StoreFile, VersionThreeGetsRoomForScores) {
  const fakes::Folder folder;
  const std::string path = folder.file("three.db");
  {
    auto made = Store::open(path, Store::Mode::read_write);
    ASSERT_TRUE(made);
    auto db = Database::open(path, Database::Access::create, 1000);
    ASSERT_TRUE(db);
    ASSERT_TRUE((*db)->execute(kBackToVersion3));
  }
  auto store = Store::open(path, Store::Mode::read_write);
  ASSERT_TRUE(store) << store.error().text();
  auto run = (*store)->begin_run(sample_run());
  ASSERT_TRUE(run);
  std::vector<CellInfo> cells{sample_cell(*run, 0), sample_cell(*run, 1)};
  ASSERT_TRUE((*store)->plan(cells));
  CellTrace trace = sample_trace(1, 2, 1);
  trace.prompts[0].tokens[1].fed_logit = 2.5;
  ASSERT_TRUE((*store)->finish(cells[0], trace));
  cells[0].scores = {sample_value()};
  ASSERT_TRUE((*store)->judge({cells[0]}, {}));
  EXPECT_EQ((*store)->scores(*run)->at(0).size(), 1U);
  EXPECT_TRUE(same_bytes((*store)->trace(cells[0], false)->prompts[0].tokens[1].fed_logit, 2.5));
}

}  // namespace
}  // namespace isobit::store_samples
