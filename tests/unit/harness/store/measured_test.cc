// What `measure` needs and finds: log-sum-exps of rows, metrics of groups, and the step from a
// database that had neither.
#include "tests/unit/harness/store/store_samples.h"

namespace isobit::store_samples {
namespace {

MeasuredGroup sample_group() {
  MeasuredGroup group;
  group.rule = "measure across batch, gpus over seed";
  group.key = "precision=bf16";
  group.cells = {0, 1};
  group.unselected_cells = 3;
  group.configurations = 5;
  group.lost = 1;
  group.samples = 4;
  group.prompts = 60;
  group.left_out = 2;
  group.values = {{"std_accuracy", 0.1 + 0.2, 1e-300, 58, ""},
                  {"div_percent", 0.0, std::nullopt, 60, ""},
                  {"div_index", std::nullopt, std::nullopt, 0, "no prompt diverges"}};
  return group;
}

TEST_F(StoreTest, WhatWasMeasuredIsReadBackWhole) {
  const std::int64_t run = begin();
  for (int i = 0; i < 2; ++i) executed(run, i, sample_trace(1, 4, 1));
  const MeasuredGroup group = sample_group();
  ASSERT_TRUE(store_->record(run, {group, MeasuredGroup{}}));
  const auto read = store_->measured(run);
  ASSERT_TRUE(read) << read.error().text();
  ASSERT_EQ(read->size(), 2U);
  const MeasuredGroup& got = (*read)[0];
  EXPECT_EQ(
      std::tie(got.rule, got.key, got.cells, got.unselected_cells, got.configurations),
      std::tie(group.rule, group.key, group.cells, group.unselected_cells, group.configurations));
  EXPECT_EQ(std::tie(got.lost, got.samples, got.prompts, got.left_out),
            std::tie(group.lost, group.samples, group.prompts, group.left_out));
  ASSERT_EQ(got.values.size(), 3U);
  for (std::size_t i = 0; i < 3; ++i) {
    const MetricValue &a = got.values[i], &b = group.values[i];
    EXPECT_EQ(std::tie(a.metric, a.prompts, a.reason), std::tie(b.metric, b.prompts, b.reason));
    EXPECT_TRUE(a.value.has_value() == b.value.has_value() &&
                same_bytes(a.value.value_or(0), b.value.value_or(0)));
    EXPECT_TRUE(a.error.has_value() == b.error.has_value() &&
                same_bytes(a.error.value_or(0), b.error.value_or(0)));
  }
  EXPECT_TRUE((*read)[1].values.empty());
  EXPECT_TRUE(store_->measured(run + 1)->empty());
  ASSERT_TRUE(store_->gc(0, false));
  EXPECT_EQ(rows("SELECT count(*) FROM metric_value"), std::vector<std::string>{"0"});
}

TEST_F(StoreTest, AMeasuredCellThatIsNotThereIsNoNumberToLookUp) {
  const std::int64_t run = begin();
  executed(run, 0, sample_trace(1, 4, 1));
  MeasuredGroup group = sample_group();
  group.cells = {0};
  ASSERT_TRUE(store_->record(run, {group}));
  for (const char* cells : {"[1]", "[-1]", "[\"0\"]", "{}", "[9223372036854775807]"}) {
    tamper("UPDATE measured_group SET cells = '" + std::string(cells) + "'");
    const auto read = store_->measured(run);
    ASSERT_FALSE(read) << cells;
    EXPECT_NE(read.error().text().find("a measured group has a cell"), std::string::npos);
  }
}

MeasuredGroup sample_pairs() {
  MeasuredGroup group = sample_group();
  group.control = {3, 2, "KL 1 at prompt 0"};
  MeasuredPair pair;
  pair.configuration = "kv=q8_0";
  pair.reference = "kv=exact";
  pair.cells = {{0, 1}};
  pair.values = {{"kl", 0.1 + 0.2, 1e-300, 58, "", {}},
                 {"flip_rate", std::nullopt, std::nullopt, 0, "free-running", {{"flips", 3.5}}}};
  pair.layers = {{-1, "embed", 4, 0.25, 1e300, 0.5, 7, 0, 0, 0},
                 {2, "k_seen", 9, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 11}};
  pair.rows = {{0, 1, 7, 0.1, 0.2, 0.3, 0.4, 0.5, -0.0, UINT64_MAX, true},
               {1, 2, INT64_MAX, std::numeric_limits<double>::infinity(), 0, 0, 0, 0, 0, 0, false}};
  MeasuredPair nothing;
  nothing.configuration = nothing.reference = "kv=?";
  nothing.problem = "one of the two has no result";
  group.pairs = {pair, nothing};
  return group;
}

TEST_F(StoreTest, PairsAreReadBackWhole) {
  const std::int64_t run = begin();
  for (int i = 0; i < 2; ++i) executed(run, i, sample_trace(1, 4, 1));
  const MeasuredGroup group = sample_pairs();
  ASSERT_TRUE(store_->record(run, {MeasuredGroup{}, group}));
  const auto read = store_->measured(run);
  ASSERT_TRUE(read) << read.error().text();
  EXPECT_TRUE((*read)[0].pairs.empty());
  const MeasuredGroup& got = (*read)[1];
  EXPECT_EQ(std::tie(got.control.pairs, got.control.exact, got.control.problem),
            std::tie(group.control.pairs, group.control.exact, group.control.problem));
  ASSERT_EQ(got.pairs.size(), 2U);
  for (std::size_t i = 0; i < 2; ++i) {
    const MeasuredPair &a = got.pairs[i], &b = group.pairs[i];
    EXPECT_EQ(std::tie(a.configuration, a.reference, a.cells, a.problem),
              std::tie(b.configuration, b.reference, b.cells, b.problem));
    EXPECT_TRUE(a.rows == b.rows);
    EXPECT_TRUE(a.layers == b.layers);
    ASSERT_EQ(a.values.size(), b.values.size());
    for (std::size_t v = 0; v < a.values.size(); ++v) {
      EXPECT_EQ(std::tie(a.values[v].metric, a.values[v].value, a.values[v].error,
                         a.values[v].prompts, a.values[v].reason, a.values[v].parts),
                std::tie(b.values[v].metric, b.values[v].value, b.values[v].error,
                         b.values[v].prompts, b.values[v].reason, b.values[v].parts));
    }
  }
  ASSERT_TRUE(store_->gc(0, false));
  for (const char* table : {"measured_pair", "pair_value", "pair_layer", "identity_control"}) {
    EXPECT_EQ(rows("SELECT count(*) FROM " + std::string(table)), std::vector<std::string>{"0"});
  }
}

TEST_F(StoreTest, ADamagedPairIsAnError) {
  const std::int64_t run = begin();
  for (int i = 0; i < 2; ++i) executed(run, i, sample_trace(1, 4, 1));
  ASSERT_TRUE(store_->record(run, {sample_pairs()}));
  for (const char* change :
       {"measured_pair SET cells = '[[0, 2]]'", "measured_pair SET cells = '[[0]]'",
        "measured_pair SET cells = '[]', row_bytes = x'00'", "pair_value SET parts = '[3]'",
        "pair_value SET parts = '[[\"a\", \"b\"]]'"}) {
    tamper("UPDATE " + std::string(change));
    EXPECT_FALSE(store_->measured(run)) << change;
    tamper(
        "UPDATE measured_pair SET cells = '[[0, 1]]', row_bytes = NULL;"
        " UPDATE pair_value SET parts = '[]'");
    EXPECT_TRUE(store_->measured(run)) << change;
  }
}

TEST_F(StoreTest, ALogSumIsKeptToItsBitsAndNothingStaysNothing) {
  CellTrace trace = sample_trace(1, 3, 1);
  trace.prompts[0].tokens[0].log_sum = 0.1 + 0.2;
  trace.prompts[0].tokens[2].log_sum = -1e-300;
  const CellInfo cell = executed(begin(), 0, trace);
  const auto read = store_->trace(cell, false);
  ASSERT_TRUE(read);
  for (std::size_t t = 0; t < 3; ++t) {
    EXPECT_TRUE(same_bytes(read->prompts[0].tokens[t].log_sum, trace.prompts[0].tokens[t].log_sum));
  }
  EXPECT_EQ(rows("SELECT count(*) FROM token WHERE log_sum IS NULL"),
            std::vector<std::string>{"1"});
}

TEST(StoreFile, VersionTwoGetsRoomForWhatIsMeasured) {
  const fakes::Folder folder;
  const std::string path = folder.file("two.db");
  {
    auto made = Store::open(path, Store::Mode::read_write);
    ASSERT_TRUE(made);
    auto db = Database::open(path, Database::Access::create, 1000);
    ASSERT_TRUE(db);
    ASSERT_TRUE((*db)->execute(kBackToVersion3));
    ASSERT_TRUE(
        (*db)->execute("DROP TABLE metric_value; DROP TABLE measured_group;"
                       " ALTER TABLE token DROP COLUMN log_sum; ALTER TABLE run DROP COLUMN cost;"
                       " PRAGMA user_version = 2"));
  }
  auto store = Store::open(path, Store::Mode::read_write);
  ASSERT_TRUE(store) << store.error().text();
  auto run = (*store)->begin_run(sample_run());
  ASSERT_TRUE(run);
  std::vector<CellInfo> cells{sample_cell(*run, 0), sample_cell(*run, 1)};
  ASSERT_TRUE((*store)->plan(cells));
  CellTrace trace = sample_trace(1, 2, 1);
  trace.prompts[0].tokens[1].log_sum = 2.5;
  ASSERT_TRUE((*store)->finish(cells[0], trace));
  ASSERT_TRUE((*store)->record(*run, {sample_group()}));
  EXPECT_EQ((*store)->measured(*run)->at(0).values.size(), 3U);
  EXPECT_TRUE(same_bytes((*store)->trace(cells[0], false)->prompts[0].tokens[1].log_sum, 2.5));
}

TEST(StoreFile, VersionThreeGetsRoomForPairs) {
  const fakes::Folder folder;
  const std::string path = folder.file("three.db");
  {
    ASSERT_TRUE(Store::open(path, Store::Mode::read_write));
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
  ASSERT_TRUE((*store)->record(*run, {sample_pairs()}));
  EXPECT_EQ((*store)->measured(*run)->at(0).pairs.size(), 2U);
}

}  // namespace
}  // namespace isobit::store_samples
