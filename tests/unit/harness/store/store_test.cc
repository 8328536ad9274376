// The store: what is written is read back, to the bit; reuse, history, gc, views.
#include "harness/store/store.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <iterator>
#include <limits>
#include <tuple>

#include "harness/store/sqlite.h"
#include "tests/fakes/folder.h"
#include "tests/unit/harness/store/store_samples.h"

namespace isobit {
namespace {

using namespace store_samples;

void expect_same_trace(const CellTrace& a, const CellTrace& b) {
  EXPECT_EQ(a.status, b.status);
  EXPECT_EQ(a.reason, b.reason);
  EXPECT_EQ(a.level, b.level);
  EXPECT_EQ(a.observed.engine, b.observed.engine);
  EXPECT_EQ(a.observed.bytes_moved, b.observed.bytes_moved);
  EXPECT_EQ(a.observed.virtual_ranks, b.observed.virtual_ranks);
  EXPECT_TRUE(same_bytes(a.seconds, b.seconds));
  ASSERT_EQ(a.prompts.size(), b.prompts.size());
  for (std::size_t p = 0; p < a.prompts.size(); ++p) {
    const PromptTrace& x = a.prompts[p];
    const PromptTrace& y = b.prompts[p];
    EXPECT_EQ(x.id, y.id);
    EXPECT_EQ(x.tokens_digest, y.tokens_digest);
    EXPECT_EQ(x.prompt_tokens, y.prompt_tokens);
    EXPECT_EQ(x.answer, y.answer);
    EXPECT_EQ(x.text, y.text);
    EXPECT_EQ(x.ended, y.ended);
    ASSERT_EQ(x.tokens.size(), y.tokens.size());
    for (std::size_t t = 0; t < x.tokens.size(); ++t) {
      EXPECT_TRUE(same_token(x.tokens[t], y.tokens[t])) << p << " " << t;
    }
    EXPECT_EQ(x.observations, y.observations);
  }
  EXPECT_EQ(cell_root(a), cell_root(b));
}

TEST_F(StoreTest, ARunIsReadBack) {
  RunInfo run = sample_run();
  run.id = begin(run);
  auto open = store_->run(run.id);
  ASSERT_TRUE(open && *open);
  EXPECT_EQ((**open).finished, "");
  EXPECT_EQ((**open).exit_code, -1);
  run.finished = "2026-11-22T13:41:00Z";
  run.exit_code = 7;
  run.unseed = "beef";
  run.notes = {"a", "b \"c\"\n"};
  run.tokens_compared = 11;
  run.obsolete = 2;
  run.seconds = 1.5;
  ASSERT_TRUE(store_->end_run(run));
  auto again = store_->run(run.id);
  ASSERT_TRUE(again && *again);
  const RunInfo& got = **again;
  EXPECT_EQ(got.command, run.command);
  EXPECT_EQ(got.scenario, run.scenario);
  EXPECT_EQ(got.scenario_path, run.scenario_path);
  EXPECT_EQ(got.scenario_text, run.scenario_text);
  EXPECT_EQ(got.environment_json, run.environment_json);
  EXPECT_EQ(got.commit, run.commit);
  EXPECT_EQ(got.dirty, run.dirty);
  EXPECT_EQ(got.started, run.started);
  EXPECT_EQ(got.finished, run.finished);
  EXPECT_EQ(got.exit_code, 7);
  EXPECT_EQ(got.unseed, "beef");
  EXPECT_EQ(std::tie(got.question, got.overrides, got.notes, got.tokens_compared, got.obsolete,
                     got.seconds, got.cost),
            std::tie(run.question, run.overrides, run.notes, run.tokens_compared, run.obsolete,
                     run.seconds, run.cost));
  EXPECT_FALSE(store_->run(run.id + 1)->has_value());
  run.id += 1;
  EXPECT_FALSE(store_->end_run(run));
}

TEST_F(StoreTest, EqualEnvironmentsAreStoredOnce) {
  begin();
  begin();
  RunInfo other = sample_run();
  other.environment_json = R"({"cpu":"Model Y"})";
  begin(other);
  EXPECT_EQ(rows("SELECT count(*) FROM environment"), std::vector<std::string>{"2"});
  auto runs = store_->runs();
  ASSERT_TRUE(runs);
  ASSERT_EQ(runs->size(), 3U);
  EXPECT_GT((*runs)[0].id, (*runs)[1].id) << "newest first";
}

TEST_F(StoreTest, ATraceIsReadBackToTheBit) {
  CellTrace trace = sample_trace(3, 9, 5, TraceLevel::ops);
  TokenRecord& odd = trace.prompts[1].tokens[2];
  odd.non_finite = true;
  odd.margin = std::numeric_limits<float>::quiet_NaN();
  odd.top_logits[0] = std::numeric_limits<float>::infinity();
  odd.top_logits[1] = -0.0F;
  odd.top_count = 2;
  std::fill(odd.top_ids.begin() + 2, odd.top_ids.end(), 0);
  std::fill(odd.top_logits.begin() + 2, odd.top_logits.end(), 0.0F);
  trace.prompts[2].tokens[0].margin = 1e-42F;
  trace.prompts[2].tokens[1].margin = std::numeric_limits<float>::infinity();
  trace.status = CellStatus::non_finite;
  trace.reason = "row 3";
  const CellInfo cell = executed(begin(), 1, trace);
  EXPECT_EQ(cell.root, cell_root(trace));
  auto again = store_->trace(cell, true);
  ASSERT_TRUE(again) << again.error().text();
  expect_same_trace(*again, trace);
  auto without = store_->trace(cell, false);
  ASSERT_TRUE(without);
  EXPECT_TRUE(without->prompts[0].observations.empty());
}

TEST_F(StoreTest, ACellIsPendingUntilItIsFinishedAndOnlyThen) {
  std::vector<CellInfo> cells{sample_cell(begin(), 1), sample_cell(1, 2)};
  ASSERT_TRUE(store_->plan(cells));
  EXPECT_NE(cells[0].id, cells[1].id);
  auto planned = store_->cell(cells[0].id);
  ASSERT_TRUE(planned && *planned);
  EXPECT_TRUE((**planned).pending);
  EXPECT_EQ((**planned).name, cells[0].name);
  EXPECT_EQ((**planned).axes_json, cells[0].axes_json);
  EXPECT_EQ((**planned).class_recipe, cells[0].class_recipe);
  EXPECT_EQ((**planned).key, cells[0].key);
  EXPECT_FALSE(store_->trace(cells[0], false)) << "a pending cell has no trace";
  EXPECT_FALSE(store_->diff(cells[0], cells[1]));
  ASSERT_TRUE(store_->finish(cells[0], sample_trace(1, 8, 1)));
  EXPECT_FALSE(store_->finish(cells[0], sample_trace(1, 8, 2))) << "finished twice";
  auto trace = store_->trace(cells[0], false);
  ASSERT_TRUE(trace);
  EXPECT_EQ(cell_root(*trace), cell_root(sample_trace(1, 8, 1)));
}

TEST_F(StoreTest, FindGivesTheNewestExecutedGoodCell) {
  const std::int64_t run = begin();
  const CellInfo old = executed(run, 1, sample_trace(1, 8, 1));
  CellTrace crashed = sample_trace(1, 8, 1);
  crashed.status = CellStatus::crashed;
  const CellInfo newer = executed(run, 1, sample_trace(1, 8, 2));
  executed(run, 1, crashed);
  reused(begin(), 1, newer);
  auto found = store_->find({sample_cell(0, 9).key, old.key});
  ASSERT_TRUE(found);
  EXPECT_FALSE((*found)[0]);
  ASSERT_TRUE((*found)[1]);
  EXPECT_EQ((*found)[1]->id, newer.id);
  EXPECT_EQ((*found)[1]->source_date, sample_run().started);
}

TEST_F(StoreTest, AReusedCellHasTheTraceOfItsSource) {
  const CellInfo source = executed(begin(), 1, sample_trace(2, 8, 1));
  RunInfo later = sample_run();
  later.started = "2026-12-01T00:00:00Z";
  const CellInfo cell = reused(begin(later), 1, source);
  EXPECT_FALSE(cell.pending);
  EXPECT_EQ(cell.source, source.id);
  EXPECT_EQ(cell.source_date, sample_run().started);
  EXPECT_EQ(cell.root, source.root);
  const CellInfo again = reused(begin(later), 1, cell);
  EXPECT_EQ(again.source, source.id) << "never a chain";
  auto trace = store_->trace(again, true);
  ASSERT_TRUE(trace);
  expect_same_trace(*trace, sample_trace(2, 8, 1));
  std::vector<CellInfo> pending{sample_cell(1, 3), sample_cell(1, 4)};
  ASSERT_TRUE(store_->plan(pending));
  EXPECT_EQ(store_->reuse(pending[0], pending[1], true)->outcome, Reuse::Outcome::gone)
      << "the source has no trace";
  EXPECT_TRUE((**store_->cell(pending[0].id)).pending);
  EXPECT_FALSE(store_->reuse(*store_->cell(again.id)->operator->(), source, true))
      << "it is not pending";
}

TEST_F(StoreTest, CostsAreThoseOfTheExecutionThatIsReused) {
  CellTrace trace = sample_trace(2, 8, 1);
  trace.seconds = 0.75;
  trace.observed.weight_bytes = 1234;
  trace.observed.energy_mj = 56;
  trace.observed.energy_source = "rapl";
  const CellInfo source = executed(begin(), 1, trace);
  const std::int64_t later = begin();
  const CellInfo cell = reused(later, 1, source);
  std::vector<CellInfo> more{sample_cell(later, 2)};
  ASSERT_TRUE(store_->plan(more));  // pending: it has none
  EXPECT_EQ((**store_->cell(cell.id)).seconds, 0);
  const auto costs = store_->costs(later);
  ASSERT_TRUE(costs) << costs.error().text();
  ASSERT_EQ(costs->size(), 1U);
  const CellCost& cost = costs->front();
  EXPECT_EQ(cost.cell, cell.id);
  EXPECT_EQ(cost.seconds, 0.75);
  EXPECT_EQ(cost.tokens, 16);
  EXPECT_EQ(cost.prompt_tokens, trace.prompts[0].prompt_tokens + trace.prompts[1].prompt_tokens);
  EXPECT_EQ(cost.observed.weight_bytes, 1234);
  EXPECT_EQ(cost.observed.energy_mj, 56);
  EXPECT_EQ(cost.observed.energy_source, "rapl");
}

TEST_F(StoreTest, VerdictsAreStored) {
  CellInfo cell = executed(begin(), 1, sample_trace(1, 8, 1));
  EXPECT_FALSE((**store_->cell(cell.id)).judged);
  for (int v = 0; v < kVerdicts; ++v) {
    cell.judgement = {static_cast<Verdict>(v), static_cast<Severity>(v % 4), "because"};
    ASSERT_TRUE(store_->judge({cell}, {}));
    const auto stored = store_->cell(cell.id);
    EXPECT_TRUE((**stored).judged);
    EXPECT_EQ((**stored).judgement.verdict, cell.judgement.verdict);
    EXPECT_EQ((**stored).judgement.severity, cell.judgement.severity);
    EXPECT_EQ((**stored).judgement.reason, "because");
  }
  cell.id += 1;
  EXPECT_FALSE(store_->judge({cell}, {}));
}

Difference sample_difference() {
  Difference d;
  d.present = true;
  d.against = "golden";
  d.prompt_id = "p\"1\xFF";  // not UTF-8
  d.position = 42;
  d.index = 17;
  d.id_a = 318;
  d.id_b = 290;
  d.text_a = " is";
  d.text_b = "\xF0\x9F";  // half of a character
  d.digest_a = "aa01";
  d.digest_b = "bb02";
  d.margin = std::numeric_limits<double>::infinity();
  d.layer_site = "layer 3, attn";
  d.differing = 50;
  d.tokens = 96;
  d.flipped = 1;
  d.has_distance = true;
  d.distance = {
      12, 0.1, std::numeric_limits<std::uint64_t>::max(), 0.3, 0.2, std::nan(""), 0.5, 0.6, 7, 8,
      2,  1024};
  return d;
}

void expect_same(const Difference& a, const Difference& b) {
  EXPECT_EQ(a.present, b.present);
  EXPECT_EQ(std::tie(a.against, a.prompt_id, a.position, a.index, a.id_a, a.id_b, a.text_a,
                     a.text_b, a.digest_a, a.digest_b, a.margin, a.layer_site),
            std::tie(b.against, b.prompt_id, b.position, b.index, b.id_a, b.id_b, b.text_a,
                     b.text_b, b.digest_a, b.digest_b, b.margin, b.layer_site));
  EXPECT_EQ(std::tie(a.differing, a.tokens, a.flipped, a.has_distance),
            std::tie(b.differing, b.tokens, b.flipped, b.has_distance));
  const RowDistance &x = a.distance, &y = b.distance;
  EXPECT_EQ(std::tie(x.differing, x.max_abs, x.max_ulp, x.kl, x.js, x.margin_a, x.margin_b),
            std::tie(y.differing, y.max_abs, y.max_ulp, y.kl, y.js, y.margin_a, y.margin_b));
  EXPECT_EQ(std::tie(x.argmax_a, x.argmax_b, x.first_segment, x.first_element),
            std::tie(y.argmax_a, y.argmax_b, y.first_segment, y.first_element));
  EXPECT_TRUE(same_bytes(std::isnan(x.total_variation), std::isnan(y.total_variation)));
}

TEST_F(StoreTest, WhatWasConcludedIsReadBackWhole) {
  const std::int64_t run = begin();
  std::vector<CellInfo> cells;
  for (int i = 0; i < 3; ++i) cells.push_back(executed(run, i, sample_trace(1, 8, 1)));
  cells[0].judgement = {Verdict::pass, Severity::none, ""};
  cells[1].judgement = {Verdict::diff, Severity::near_tie, "r"};
  cells[1].difference = sample_difference();
  cells[1].score = {8, 5};
  cells[2].judgement = {Verdict::pass, Severity::none, ""};
  GroupResult group;
  group.rule = "measure across batch";
  group.key = "engine=reference";
  group.judgement = {Verdict::diff, Severity::none, "two classes"};
  group.cells = {2, 0, 1};
  group.equal_pairs = {{0, 1}, {0, 2}};
  group.compared_tokens = 96;
  group.differing = 90;
  group.flipped = 2;
  group.comparable_rows = 95;
  group.flip_rate_bound = 0.1;
  group.divergence_index = {-1, 7};
  group.flip_margins = {0.1F, std::numeric_limits<float>::infinity(), 1e-42F};
  group.base = 2;
  group.pairs = {{0, 96, 90, 2, 4, 3, 1}, {1, 96, 0, 0, 4, 0, -1}};
  ASSERT_TRUE(store_->judge(cells, {group, GroupResult{}}));

  const auto read = store_->cells(run);
  ASSERT_TRUE(read);
  expect_same((*read)[0].difference, Difference{});
  Difference text = sample_difference();  // texts are kept as UTF-8
  text.prompt_id = "p\"1\xEF\xBF\xBD";
  text.text_b = "\xEF\xBF\xBD";
  expect_same((*read)[1].difference, text);
  EXPECT_EQ((*read)[1].score.scored, 8);
  EXPECT_EQ((*read)[1].score.correct, 5);
  EXPECT_EQ((*read)[1].tokens, 8);
  EXPECT_TRUE((*read)[1].virtual_ranks);

  const auto groups = store_->groups(run);
  ASSERT_TRUE(groups) << groups.error().text();
  ASSERT_EQ(groups->size(), 2U);
  const GroupResult& got = (*groups)[0];
  EXPECT_EQ(std::tie(got.rule, got.key, got.cells, got.equal_pairs),
            std::tie(group.rule, group.key, group.cells, group.equal_pairs));
  EXPECT_EQ(got.judgement.verdict, Verdict::diff);
  EXPECT_EQ(got.judgement.reason, "two classes");
  EXPECT_EQ(std::tie(got.compared_tokens, got.differing, got.flipped, got.comparable_rows),
            std::tie(group.compared_tokens, group.differing, group.flipped, group.comparable_rows));
  EXPECT_EQ(
      std::tie(got.flip_rate_bound, got.divergence_index, got.flip_margins, got.base),
      std::tie(group.flip_rate_bound, group.divergence_index, group.flip_margins, group.base));
  ASSERT_EQ(got.pairs.size(), 2U);
  EXPECT_EQ(std::tie(got.pairs[0].rows, got.pairs[0].differing, got.pairs[0].flipped),
            std::make_tuple(96, 90, 2));
  EXPECT_EQ(std::tie(got.pairs[1].cell, got.pairs[1].prompts, got.pairs[1].earliest),
            std::make_tuple(1, 4, -1));
  EXPECT_TRUE((*groups)[1].cells.empty());
  ASSERT_TRUE(store_->gc(0, false));
  EXPECT_EQ(rows("SELECT count(*) FROM contract_member"), std::vector<std::string>{"0"});
}

TEST_F(StoreTest, AVerdictOfAnotherProgramIsNoPass) {
  const CellInfo cell = executed(begin(), 1, sample_trace(1, 8, 1));
  ASSERT_TRUE(store_->judge({cell}, {}));
  auto db = Database::open(path_, Database::Access::create, 1000);
  ASSERT_TRUE((*db)->execute("UPDATE cell SET verdict = 'FINE'"));
  EXPECT_EQ((**store_->cell(cell.id)).judgement.verdict, Verdict::fail);
}

TEST(StoreInMemory, HoldsARunAndLeavesNoFile) {
  const fakes::Folder folder;
  auto store = Store::open(folder.file("x.db"), Store::Mode::in_memory);
  ASSERT_TRUE(store) << store.error().text();
  ASSERT_TRUE((*store)->begin_run(sample_run()));
  EXPECT_EQ((*store)->runs()->size(), 1U);
  EXPECT_EQ(folder.entries(), 0U);
}

TEST_F(StoreTest, HistoryTakesNamesHashesAndPrefixes) {
  const std::int64_t run = begin();
  const CellInfo first = executed(run, 1, sample_trace(1, 8, 1));
  const CellInfo second = executed(run, 1, sample_trace(1, 8, 1));
  executed(run, 2, sample_trace(1, 8, 1));
  for (const std::string& text : {first.name, first.hash, first.hash.substr(0, 8),
                                  "/" + first.hash.substr(0, 8), "any words /" + first.hash}) {
    auto found = store_->history(text);
    ASSERT_TRUE(found) << found.error().text();
    ASSERT_EQ(found->size(), 2U) << text;
    EXPECT_EQ((*found)[0].id, second.id) << "newest first";
  }
  EXPECT_TRUE(store_->history("nothing")->empty());
  EXPECT_TRUE(store_->history("ffffffff")->empty());
  std::vector<CellInfo> twins{sample_cell(run, 5), sample_cell(run, 6)};
  twins[0].hash = "abcdef0000000000";
  twins[1].hash = "abcdef1111111111";
  ASSERT_TRUE(store_->plan(twins));
  const auto ambiguous = store_->history("/abcdef");
  ASSERT_FALSE(ambiguous);
  EXPECT_NE(ambiguous.error().message.find("more than one"), std::string::npos);
}

TEST_F(StoreTest, GoldenEventsAreKeptInOrder) {
  for (const char* action : {"reject", "bless"}) {
    GoldenEvent event{action, "smoke", "c", "p1", "b", "-", "Ada", "why", "2026-11-22T13:40:00Z"};
    ASSERT_TRUE(store_->record(event));
  }
  const auto events = store_->golden_events("smoke");
  ASSERT_TRUE(events);
  ASSERT_EQ(events->size(), 2U);
  EXPECT_EQ((*events)[1].action, "bless");
  EXPECT_EQ((*events)[1].by, "Ada");
  EXPECT_EQ((*events)[1].parent_hash, "-");
  EXPECT_TRUE(store_->golden_events("other")->empty());
  EXPECT_FALSE(store_->record(GoldenEvent{"steal", "s", "", "", "", "", "", "", ""}));
}

TEST_F(StoreTest, ViewsAnswerTheCommonQuestions) {
  RunInfo run = sample_run();
  for (const auto& [commit, seed] : {std::pair{"aaaa", 1}, {"bbbb", 1}, {"cccc", 2}, {"dddd", 2}}) {
    run.commit = commit;
    const std::int64_t id = begin(run);
    CellInfo one = executed(id, 1, sample_trace(2, 8, std::uint64_t(seed)));
    CellTrace other = sample_trace(2, 8, std::uint64_t(seed));
    if (seed == 2) other.prompts[1].tokens[3].digest = digest_of(9);
    CellInfo two = executed(id, 2, other);
    one.judgement = {Verdict::pass, Severity::none, ""};
    two.judgement = {seed == 2 ? Verdict::diff : Verdict::pass, Severity::none, "r"};
    ASSERT_TRUE(store_->judge({one, two}, {}));
  }
  EXPECT_EQ(rows("SELECT verdict FROM latest_verdict ORDER BY name"),
            (std::vector<std::string>{"PASS", "DIFF"}));
  EXPECT_EQ(rows("SELECT commit_id FROM first_change WHERE scenario = 'smoke'"
                 " AND device = 'Model X'"),
            std::vector<std::string>{"cccc"});
  EXPECT_EQ(rows("SELECT count(*) FROM bits_change"), std::vector<std::string>{"2"});
  EXPECT_EQ(rows("SELECT first_prompt_position FROM divergence ORDER BY run"),
            (std::vector<std::string>{"1:13", "1:13"}));
}

TEST_F(StoreTest, TheDocumentedQueriesRun) {
  std::ifstream file(ISOBIT_SOURCE_DIR "/harness/store/SCHEMA.md");
  const std::string page{std::istreambuf_iterator<char>(file), {}};
  const std::size_t begin = page.find("```sql\n");
  ASSERT_NE(begin, std::string::npos);
  std::string queries = page.substr(begin + 7, page.find("```", begin + 7) - begin - 7);
  int count = 0;
  for (std::size_t end; (end = queries.find(';')) != std::string::npos; ++count) {
    rows(queries.substr(0, end));  // fails the test when SQLite refuses it
    queries.erase(0, end + 1);
  }
  EXPECT_EQ(count, 11);
}

}  // namespace
}  // namespace isobit
