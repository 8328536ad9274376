// Which cause is named, in which order, and from which stored execution it is taken.
#include "harness/explain/cause.h"

#include <gtest/gtest.h>

#include "tests/unit/harness/store/store_samples.h"

namespace isobit {
namespace {

using namespace store_samples;

Provenance made(const std::string& recipe, const std::string& prompt,
                std::map<std::string, std::string> environment) {
  Provenance out{recipe, {}, {{"p0", prompt}}, {}};
  out.environment.entries = std::move(environment);
  return out;
}

TEST(Cause, ComesInOrder) {
  const Provenance a = made("model=m1\ndecode.seed=1\nlibrary.l=1\nvariant=Zen\n", "1",
                            {{"executable", "e1"}, {"gpu.driver", "d1"}, {"host", "x"}});
  const Provenance b = made("model=m2\ndecode.seed=2\nlibrary.l=2\nvariant=Haswell\n", "2",
                            {{"executable", "e2"}, {"gpu.driver", "d2"}, {"host", "y"}});
  EXPECT_EQ(cause_text(causes_of(a, b)),
            "model m1 -> m2; prompt p0 has other tokens; seed 1 -> 2; library l 1 -> 2; "
            "variant Zen -> Haswell; program e1 -> e2; driver d1 -> d2");
}

TEST(Cause, ThatIsNotRecordedIsSaidToBe) {
  const Provenance a = made("model=m\n", "1", {{"executable", "e"}, {"gpu.clock", "1"}});
  const Provenance b = made("model=m\n", "1", {{"executable", "e"}, {"gpu.clock", "2"}});
  EXPECT_TRUE(causes_of(a, b).empty());
  EXPECT_NE(cause_text(causes_of(a, b)).find("not recorded"), std::string::npos);
}

TEST(Cause, NamesAFewOfManyPrompts) {
  Provenance a, b;
  for (int i = 0; i < 9; ++i) {
    a.prompts["p" + std::to_string(i)] = "1";
    b.prompts["p" + std::to_string(i)] = i < 5 ? "2" : "1";
  }
  b.prompts.erase("p8");
  EXPECT_EQ(cause_text(causes_of(a, b)),
            "prompts p0, p1, p2 and 2 more have other tokens; 1 prompt is on one side only");
}

TEST(Cause, NamesAnAxisThatNoRecipeHas) {
  Provenance a = made("model=m\nprecision=fp32\n", "1", {});
  Provenance b = a;
  a.axes = {{"batch", "1"}, {"precision", "fp32"}};
  b.axes = {{"batch", "3"}, {"precision", "fp32"}};
  EXPECT_EQ(cause_text(causes_of(a, b)), "batch 1 -> 3");
}

TEST(Cause, IsCountedOnce) {
  EXPECT_EQ(counted_causes({{"a", 1}, {"b", 60}}, "cell"),
            (std::vector<std::string>{"cause of 1 cell: a", "cause of 60 cells: b"}));
}

/// A golden that run 1 gave and run 2, of another program, does not.
class CauseOfGolden : public StoreTest {
 protected:
  /// A run of one cell with these bits; gives the cell as it was stored.
  CellInfo executed(std::uint64_t seed, const std::string& program) {
    RunInfo run = sample_run();
    run.environment_json = R"({"executable":")" + program + "\"}";
    std::vector<CellInfo> cells{sample_cell(begin(run), 1)};
    EXPECT_TRUE(store_->plan(cells));
    EXPECT_TRUE(store_->finish(cells[0], sample_trace(1, 12, seed)));
    return cells[0];
  }
};

TEST_F(CauseOfGolden, IsWhatChangedSinceTheRunThatGaveItsBits) {
  const CellInfo before = executed(7, "good"), after = executed(8, "bad");
  const CellTrace good = sample_trace(1, 12, 7), bad = sample_trace(1, 12, 8);
  GoldenFile golden;
  const GoldenBlock block = make_block(before.class_hash, before.class_recipe, good.prompts[0]);
  golden.blocks.emplace(block.key, block);

  const auto witness = Witnesses(store_.get()).of(block);
  ASSERT_TRUE(witness) << "run 1 gave these bits";
  EXPECT_EQ(witness->run, before.run);
  EXPECT_FALSE(Witnesses(store_.get(), before.run).of(block)) << "that run does not count";
  EXPECT_FALSE(Witnesses(nullptr).of(block));

  Traces traces;
  traces.cells.resize(1);
  traces.cells[0].class_hash = after.class_hash;
  traces.cells[0].attempts = {bad};
  Judged judged;
  judged.cells.resize(1);
  judged.cells[0].difference.present = true;
  judged.cells[0].difference.against = "golden";
  judged.cells[0].difference.prompt_id = "p0";
  Records records;
  records.cells = {after};
  records.run.id = after.run;
  records.run.environment_json = R"({"executable":"bad"})";
  records.store = std::move(store_);
  name_causes(golden, nullptr, traces, records, judged);
  EXPECT_EQ(judged.cells[0].difference.cause,
            "since run " + std::to_string(before.run) +
                ", which gave the golden's bits: program good -> bad");
}

TEST_F(CauseOfGolden, WithoutSuchARunNothingIsClaimed) {
  const CellInfo after = executed(8, "bad");
  const CellTrace good = sample_trace(1, 12, 7);
  EXPECT_FALSE(Witnesses(store_.get())
                   .of(make_block(after.class_hash, after.class_recipe, good.prompts[0])));
}

}  // namespace
}  // namespace isobit
