// Several models in one matrix: each cell is, digest for digest, that of a scenario with its model
// alone. Several ways to decode: each is as attributable as the greedy one.
#include <gtest/gtest.h>

#include <set>

#include "harness/run.h"
#include "tests/fakes/folder.h"
#include "tests/fakes/run.h"

namespace isobit {
namespace {

constexpr const char* kPrompts =
    "{\"id\": \"a\", \"text\": \"Tom has 3 apples and buys 4 more.\", \"answer\": \" 7\"}\n"
    "{\"id\": \"b\", \"text\": \"Question: 12 + 30 = \", \"answer\": \" 42\"}\n"
    "{\"id\": \"c\", \"text\": \"Once upon a time there was a small dog that\", \"answer\": \" "
    "ran\"}\n";

class SeveralModels : public testing::Test {
 protected:
  SeveralModels() { folder_.write("prompts.jsonl", kPrompts); }

  std::string scenario(const std::string& more) {
    return folder_.write("t.yaml", "version: 1\nname: models\nprompts: prompts.jsonl\n" + more);
  }
  RunResult run(const std::string& more, const std::string& filter = "") {
    RunOptions options;
    options.database = folder_.file("x.db");
    options.fresh = true;
    options.update = "none";
    options.progress = false;
    options.filter = filter;
    auto result = run_to_verdicts(scenario(more), options);
    EXPECT_TRUE(result) << result.error().text();
    return result ? std::move(*result) : RunResult{};
  }

  fakes::Folder folder_;
};

constexpr const char* kAxes =
    "precision: [fp32, bf16], batch: [1, 3], teacher_forced: [false, true]";
constexpr const char* kRule =
    "expect: [{same_bits: {across: [batch]}}]\n"
    "decode: {max_new_tokens: 6}\n";

TEST_F(SeveralModels, EachCellIsThatOfItsModelAlone) {
  const std::string axes = std::string(kAxes) + "}\n" + kRule;
  const RunResult both = run("axes: {model: [default-7m, nano-300k], " + axes);
  ASSERT_EQ(both.traces.cells.size(), 16u);
  EXPECT_EQ(both.loaded.session.models.size(), 2u);
  std::set<GoldenKey> asked;
  std::size_t seen = 0;
  for (const char* name : {"default-7m", "nano-300k"}) {
    const RunResult alone = run(std::string("model: ") + name + "\naxes: {" + axes);
    asked.insert(alone.asked.begin(), alone.asked.end());
    for (std::size_t i = 0; i < alone.plan.cells.size(); ++i, ++seen) {
      const Cell& mine = alone.plan.matrix.cells[i];
      const Cell& other = both.plan.matrix.cells[seen];
      EXPECT_EQ(mine.hash, other.hash) << other.name();
      EXPECT_EQ(other.value("model"), name);
      EXPECT_EQ(alone.plan.cells[i].class_hash, both.plan.cells[seen].class_hash);
      EXPECT_EQ(alone.plan.cells[i].key, both.plan.cells[seen].key);
      ASSERT_TRUE(alone.traces.cells[i].has_trace() && both.traces.cells[seen].has_trace());
      const CellTrace& a = alone.traces.cells[i].attempts.front();
      const CellTrace& b = both.traces.cells[seen].attempts.front();
      EXPECT_EQ(a.status, CellStatus::ok) << a.reason;
      EXPECT_EQ(cell_root(a), cell_root(b)) << other.name();
      for (std::size_t p = 0; p < a.prompts.size(); ++p) {
        EXPECT_EQ(a.prompts[p].tokens_digest, b.prompts[p].tokens_digest);
        EXPECT_EQ(a.prompts[p].text, b.prompts[p].text);
      }
    }
  }
  EXPECT_EQ(both.asked, asked) << "the golden blocks of both, and no others";
  const CellTrace& large = both.traces.cells.front().attempts.front();
  const CellTrace& small = both.traces.cells.back().attempts.front();
  EXPECT_NE(large.prompts[0].tokens_digest, small.prompts[0].tokens_digest)
      << "two tokenizers; otherwise the test shows little";
}

TEST_F(SeveralModels, ModelsThatNoSelectedCellHasNeedNotBeThere) {
  const std::string axes = "axes: {model: [nano-300k, not-there], batch: [1, 3]}\n";
  const RunResult one = run(axes + kRule, "model=nano-300k");
  EXPECT_EQ(one.plan.cells.size(), 2u);
  RunOptions options;
  options.database = folder_.file("x.db");
  const auto all = run_to_verdicts(scenario(axes + kRule), options);
  ASSERT_FALSE(all);
  EXPECT_NE(all.error().text().find("t.yaml:4:27: "), std::string::npos) << all.error().text();
}

TEST_F(SeveralModels, AnswersAreTokensOfTheirModel) {
  const RunResult both =
      run("axes: {model: [default-7m, nano-300k], teacher_forced: [answer], "
          "batch: [1, 3]}\n" +
          std::string(kRule));
  for (std::size_t i = 0; i < both.plan.cells.size(); ++i) {
    const ModelSession& model = both.loaded.session.of(both.plan.matrix.cells[i]);
    const CellTrace& trace = both.traces.cells[i].attempts.front();
    ASSERT_EQ(trace.status, CellStatus::ok) << trace.reason;
    for (std::size_t p = 0; p < trace.prompts.size(); ++p) {
      ASSERT_EQ(trace.prompts[p].tokens.size(), model.answers[p].size());
      EXPECT_EQ(trace.prompts[p].tokens.front().fed, model.answers[p].front());
    }
  }
}

/// Draws are coupled: whatever keeps the bits keeps the tokens.
TEST_F(SeveralModels, EveryWayToDecodeIsOneClassOverHowItRuns) {
  const RunResult all = run(
      "model: nano-300k\ndecode: {max_new_tokens: 8, ignore_eos: true}\n"
      "axes: {decode: [greedy, {top_k: 50}, {top_p: 0.9}, {temperature: 0.7, seed: 4}, sample],\n"
      "  batch: [1, 3], cache: ['on', {chunked: 3}], threads: [1, 2]}\n"
      "expect: [{same_bits: {across: [batch, cache, threads]}}]\n");
  ASSERT_EQ(all.plan.cells.size(), 40u);
  std::set<std::string> classes;
  std::set<Sha256> roots;
  for (std::size_t i = 0; i < all.plan.cells.size(); ++i) {
    const Cell& cell = all.plan.matrix.cells[i];
    classes.insert(all.plan.cells[i].class_hash);
    const CellTrace& trace = all.traces.cells[i].attempts.front();
    roots.insert(cell_root(trace));
    EXPECT_EQ(trace.observed.decode, cell.value("decode")) << cell.name();
    const Verdict verdict = all.judged.cells[i].judgement.verdict;
    EXPECT_EQ(verdict, Verdict::nogold) << cell.name() << all.judged.cells[i].judgement.reason;
  }
  EXPECT_EQ(classes.size(), 5u) << "a golden class for each value";
  EXPECT_EQ(roots.size(), 5u) << "and the same bits in each";
  for (const GroupResult& group : all.judged.groups) {
    EXPECT_EQ(group.judgement.verdict, Verdict::pass) << group.judgement.reason;
  }
}

/// The drawn id is recorded, the teacher's is fed: its own draw with the same options.
TEST_F(SeveralModels, ATaughtCellDrawsAndIsFedTheTeachersDraws) {
  const RunResult all =
      run("model: nano-300k\ndecode: {max_new_tokens: 8, ignore_eos: true}\n"
          "axes: {decode: [greedy, {top_k: 50}], teacher_forced: [false, true], batch: [1, 3]}\n"
          "expect: [{same_bits: {across: [batch, teacher_forced]}}]\n");
  for (const GroupResult& group : all.judged.groups) {
    EXPECT_EQ(group.judgement.verdict, Verdict::pass) << group.judgement.reason;
  }
  EXPECT_EQ(all.judged.groups.size(), 2u);
}

/// What ran is held against what was asked.
TEST_F(SeveralModels, AGreedyRunOfACellThatAsksForDrawsFails) {
  ExecuteHooks hooks;
  hooks.request = [](const Cell& cell, GenerateRequest& request) {
    if (cell.value("batch") == "3") request.sampler.temperature = 0;
  };
  RunOptions options;
  options.hooks = &hooks;
  options.database = folder_.file("x.db");
  const Report report = fakes::report_of(
      scenario("model: nano-300k\ngolden: none\ndecode: {max_new_tokens: 8, ignore_eos: true}\n"
               "axes: {decode: [{top_k: 1}, {top_k: 50}], batch: [1, 2, 3]}\n"
               "expect: [{same_bits: {across: [batch]}}]\n"),
      options);
  ASSERT_EQ(report.cells.size(), 6u);
  for (const ReportCell& cell : report.cells) {
    const bool bad = cell.axes.at("batch") == "3";
    EXPECT_EQ(cell.verdict, bad ? Verdict::fail : Verdict::pass)
        << cell.name << ": " << cell.reason;  // with top_k: 1 every draw is the best, and fine
    if (!bad) continue;
    EXPECT_EQ(cell.reason, "decode " + cell.axes.at("decode") + " was asked, greedy ran");
  }
}

}  // namespace
}  // namespace isobit
