// Verdicts of made-up traces: what was asked against what ran, every rule, goldens, precedence.
#include "harness/judge/judge.h"

#include <gtest/gtest.h>

#include "harness/judge/steps.h"
#include "tests/fakes/engine.h"

namespace isobit {
namespace {

/// A scenario's cells, each with an honest trace until a test changes it.
class JudgeTest : public testing::Test {
 protected:
  void use(const std::string& body) {
    const std::string head =
        "version: 1\nname: t\nmodel: m\nprompts: p.jsonl\n"
        "decode: {max_new_tokens: 8, ignore_eos: true}\n";
    auto scenario = parse_scenario(head + body, "t.yaml", {});
    ASSERT_TRUE(scenario) << scenario.error().text();
    scenario_ = std::move(*scenario);
    auto matrix = expand(scenario_, false);
    ASSERT_TRUE(matrix) << matrix.error().text();
    matrix_ = std::move(*matrix);
    for (const Cell& cell : matrix_.cells) {
      JudgeCell& made = cells_.emplace_back();
      made.state = JudgeCell::State::executed;
      made.attempts.push_back(trace_of(cell, 1));
    }
  }
  static CellTrace trace_of(const Cell& cell, std::uint64_t seed) {
    GenerateRequest request = cell.requested();
    request.max_new_tokens = 8;
    request.prompts.resize(2);
    request.prompts[0].tokens = {1, 2, 3};
    request.prompts[1].tokens.assign(40, 5);
    CellTrace trace = fakes::made_up_trace(request, seed);
    trace.prompts[0].id = "p0";
    trace.prompts[1].id = "p1";
    return trace;
  }
  Judged judged() {
    return judge({scenario_, matrix_, cells_, within_, golden_, asked_, eos_, "2026-11-29", true,
                  nullptr, false, &ensembles_});
  }
  std::string verdicts() {
    std::string out;
    for (const CellResult& cell : judged().cells) {
      out += (out.empty() ? "" : " ") + std::string(name_of(cell.judgement.verdict));
    }
    return out;
  }
  /// The only cell's verdict and reason after a change of what was observed.
  template <class F>
  std::string after(F change) {
    const CellTrace whole = cells_[0].attempts[0];
    change(cells_[0].attempts[0].observed);
    const Judgement out = judged().cells[0].judgement;
    cells_[0].attempts[0] = whole;
    return std::string(name_of(out.verdict)) + ": " + out.reason;
  }

  Scenario scenario_;
  Matrix matrix_;
  std::vector<JudgeCell> cells_;
  WithinResults within_;
  EnsembleResults ensembles_;
  const GoldenFile* golden_ = nullptr;
  std::map<std::string, std::vector<std::int32_t>> eos_;
  std::set<GoldenKey> asked_;
};

constexpr const char* kPair = "axes: {batch: [1, 3]}\nexpect: [{same_bits: {across: [batch]}}]\n";

TEST_F(JudgeTest, EqualCellsPass) {
  use(kPair);
  EXPECT_EQ(verdicts(), "PASS PASS");
  EXPECT_EQ(judged().tokens_compared, 16);
  EXPECT_EQ(judged().groups[0].cells, (std::vector<int>{0, 1}));
}

TEST_F(JudgeTest, ADifferenceIsTheLaterCells) {
  use(kPair);
  cells_[1].attempts[0].prompts[1].tokens[2].digest.bytes[0] ^= 1;
  const Judged out = judged();
  EXPECT_EQ(out.cells[0].judgement.verdict, Verdict::pass);
  EXPECT_EQ(out.cells[1].judgement.verdict, Verdict::diff);
  const Difference& difference = out.cells[1].difference;
  EXPECT_EQ(difference.against, matrix_.cells[0].name());
  EXPECT_EQ(difference.prompt_id, "p1");
  EXPECT_EQ(difference.position, 41);
  EXPECT_EQ(out.cells[1].against, 0);
  EXPECT_EQ(out.groups[0].judgement.verdict, Verdict::diff);
  EXPECT_EQ(out.groups[0].differing, 1);
}

TEST_F(JudgeTest, WithinJudgesEveryPairNotOnlyThoseOfTheFirstCell) {
  use("axes: {batch: [1, 2, 3]}\nexpect: [{within: {across: [batch], max_abs: 1.0}}]\n");
  for (int i = 1; i < 3; ++i) {
    cells_[std::size_t(i)].attempts[0] =
        trace_of(matrix_.cells[std::size_t(i)], 1 + std::uint64_t(i));
  }
  // One step away from the first cell to either side, two from each other.
  within_[{0, 0, 1}] = {true, 8, 8, 0, 0.75, 0};
  within_[{0, 0, 2}] = {true, 8, 8, 0, 0.75, 0};
  within_[{0, 1, 2}] = {true, 8, 8, 0, 1.5, 0};
  EXPECT_EQ(verdicts(), "PASS PASS DIFF");
  EXPECT_NE(judged().cells[2].judgement.reason.find(matrix_.cells[1].name()), std::string::npos);
  within_[{0, 1, 2}].max_abs = 1.0;
  EXPECT_EQ(verdicts(), "PASS PASS PASS");
  within_.erase({0, 1, 2});
  EXPECT_EQ(verdicts(), "PASS PASS MISTRUSTED") << "a pair without values is not within anything";
}

TEST_F(JudgeTest, AnEnsembleDemandsNothingButValues) {
  use("axes: {weights: [{bsr: 4}, {bsr: 4, seed: 1}], teacher_forced: [true]}\n"
      "golden: none\nensemble: [{across: [weights]}]\n");
  cells_[1].attempts[0] = trace_of(matrix_.cells[1], 9);
  EXPECT_EQ(judged().groups[0].judgement.verdict, Verdict::mistrusted);
  EXPECT_EQ(judged().groups[0].judgement.reason, "no values to measure");
  ensembles_[{0, 0}].result.sizes.resize(2);
  const Judged out = judged();
  EXPECT_EQ(out.groups[0].rule, "ensemble bins 15 across weights");
  EXPECT_EQ(out.groups[0].judgement.verdict, Verdict::pass);
  EXPECT_EQ(out.groups[0].ensemble.sizes.size(), 2U);
  EXPECT_EQ(verdicts(), "PASS PASS");
  ensembles_[{0, 0}].problem = "other tokens";
  EXPECT_EQ(judged().groups[0].judgement.reason, "other tokens");
}

TEST_F(JudgeTest, WeightsThatRanAreThoseThatWereAsked) {
  use("axes: {weights: [{bsr: 4}]}\n");
  EXPECT_EQ(after([](Observed& o) { o.weights = "stored"; }),
            "FAIL: weights bsr:4 was asked, stored ran");
  EXPECT_EQ(after([](Observed& o) { o.weights += kNothingChanged; }),
            "MISTRUSTED: weights bsr:4, which changed no weight");
}

TEST_F(JudgeTest, AGroupSaysWhatItRestsOnAndDoesNotPassForAnAxisThatDidNotVary) {
  use("axes: {batch: [1, 3], gpus: [1, 2]}\nexpect: [{same_bits: {across: [batch, gpus]}}]\n");
  const auto drop = [&](int i, JudgeCell::State state) {
    cells_[std::size_t(i)] = {};
    cells_[std::size_t(i)].state = state;
  };
  EXPECT_EQ(judged().groups[0].compared_cells, 4);
  drop(3, JudgeCell::State::skipped);  // batch 3 on 2 ranks: both axes still vary
  EXPECT_EQ(judged().groups[0].judgement.verdict, Verdict::pass);
  EXPECT_EQ(judged().groups[0].compared_cells, 3);
  drop(1, JudgeCell::State::not_run);  // the other one on 2 ranks
  const GroupResult group = judged().groups[0];
  EXPECT_EQ(group.judgement.verdict, Verdict::not_run);
  EXPECT_EQ(group.judgement.reason, "not exercised: gpus; what was compared agrees");
  EXPECT_EQ(group.compared_cells, 2);
  EXPECT_EQ(verdicts(), "PASS NOT-RUN PASS SKIP");
}

TEST_F(JudgeTest, AnExpectedFailureExcusesItsVerdictAndNoOther) {
  use(std::string(kPair) + "xfail: [{where: batch=3, reason: known}]\n");
  cells_[1].attempts[0] = trace_of(matrix_.cells[1], 9);
  Judged out = judged();
  EXPECT_EQ(out.cells[1].judgement.verdict, Verdict::xfail);
  EXPECT_EQ(out.groups[0].judgement.verdict, Verdict::xfail);
  cells_[1].attempts[0].status = CellStatus::timed_out;
  cells_[1].attempts[0].reason = "no result within 3 s";
  EXPECT_EQ(judged().cells[1].judgement.verdict, Verdict::fail) << "a time-out is another thing";
  cells_[1].attempts[0] = trace_of(matrix_.cells[1], 9);
  scenario_.xfail[0].verdict = "NONDET";
  out = judged();
  EXPECT_EQ(out.cells[1].judgement.verdict, Verdict::diff);
  EXPECT_EQ(out.groups[0].judgement.verdict, Verdict::diff);
}

TEST_F(JudgeTest, ControlsAreRedWhereCellsAreEqual) {
  use("axes: {batch: [1, 2, 3]}\nexpect: [{differ_all: {across: [batch]}}]\n");
  EXPECT_EQ(verdicts(), "DIFF DIFF DIFF");
  cells_[2].attempts[0] = trace_of(matrix_.cells[2], 9);
  EXPECT_EQ(verdicts(), "DIFF DIFF PASS");
  EXPECT_EQ(judged().groups[0].equal_pairs, (std::vector<std::pair<int, int>>{{0, 1}}));
  cells_[1].attempts[0] = trace_of(matrix_.cells[1], 8);
  EXPECT_EQ(verdicts(), "PASS PASS PASS");
}

TEST_F(JudgeTest, WhatIsComparedWithNothingIsNoPass) {
  use("axes: {batch: [1]}\n");
  EXPECT_EQ(verdicts(), "MISTRUSTED");
  GoldenFile none;
  golden_ = &none;
  cells_[0].class_hash = std::string(64, 'c');
  cells_[0].wants_golden = true;
  EXPECT_EQ(verdicts(), "NOGOLD") << "the graver word would hide what to do";
  cells_[0].class_hash.clear();
  EXPECT_EQ(verdicts(), "NOGOLD") << "nobody knows by what to look it up";
  cells_[0].wants_golden = false;
  EXPECT_EQ(verdicts(), "MISTRUSTED");
}

TEST_F(JudgeTest, AnInterruptIsHeardWhileItIsJudged) {
  use(kPair);
  EXPECT_EQ(verdicts(), "PASS PASS");
  interrupted = 1;
  EXPECT_EQ(verdicts(), "PASS PASS") << "what ran before an interrupt is judged";
  interrupted = 0;
  const JudgeInput input{scenario_, matrix_, cells_, within_, golden_, asked_, eos_, "", true};
  const judge_steps::Judging all(input);
  EXPECT_FALSE(all.stopped());
  interrupted = 1;
  EXPECT_TRUE(all.stopped());
  interrupted = 0;
}

TEST_F(JudgeTest, ARedCellIsNoBaseline) {
  use("axes: {batch: [1]}\n");
  Baseline baseline{"run 1", {{matrix_.cells[0].hash, {cells_[0].attempts[0], ""}}}};
  const auto verdict = [&] {
    const JudgeInput input{scenario_, matrix_, cells_, within_,   golden_, asked_,
                           eos_,      "",      true,   &baseline, false};
    return std::string(name_of(judge(input).cells[0].judgement.verdict));
  };
  EXPECT_EQ(verdict(), "PASS");
  baseline.cells.begin()->second.fault = "NONDET";
  EXPECT_EQ(verdict(), "NOGOLD");
  baseline.cells.begin()->second = {trace_of(matrix_.cells[0], 2), ""};
  EXPECT_EQ(verdict(), "DIFF");
  baseline.cells.clear();
  EXPECT_EQ(verdict(), "NOGOLD");
}

TEST_F(JudgeTest, ALibraryThatIsNotTheOneOfTheRecipeFails) {
  use("axes: {engine: [openblas], batch: [1]}\n");
  cells_[0].class_recipe = "engine=openblas\nlibrary.libopenblas.so.0=aa\nvariant=Haswell\n";
  const auto ran = [&](const std::string& library, const std::string& core) {
    return after([&](Observed& o) {
      o.engine = "openblas:" + core;
      o.library_sha256 = library;
    });
  };
  EXPECT_EQ(ran("aa", "HASWELL"), "MISTRUSTED: vacuous: compared with nothing");
  EXPECT_EQ(ran("bb", "Haswell"),
            "FAIL: library  (bb) ran, which is not the file that was found before");
  EXPECT_EQ(ran("aa", "Zen"), "FAIL: core type Zen ran, Haswell was found before");
}

TEST_F(JudgeTest, ExecutionsThatAgreeSufficeForABlessingAlone) {
  use("axes: {batch: [1]}\n");
  cells_[0].attempts.push_back(cells_[0].attempts[0]);
  EXPECT_EQ(verdicts(), "MISTRUSTED");
  const JudgeInput input{scenario_, matrix_, cells_, within_, golden_, asked_,
                         eos_,      "",      true,   nullptr, true};
  EXPECT_EQ(judge(input).cells[0].judgement.verdict, Verdict::pass);
}

TEST_F(JudgeTest, ACellThatDidNotRunLeavesTheOthersUnproven) {
  use(kPair);
  cells_[1] = JudgeCell{JudgeCell::State::not_run, "--max-time", {}, "", ""};
  EXPECT_EQ(verdicts(), "PASS NOT-RUN");
  EXPECT_EQ(judged().groups[0].judgement.verdict, Verdict::not_run);
  cells_[1].state = JudgeCell::State::skipped;
  EXPECT_EQ(verdicts(), "MISTRUSTED SKIP");
}

TEST_F(JudgeTest, AVacuousGroupSaysWhatBecameOfItsCells) {
  use("axes: {batch: [1, 2, 3, 4, 5, 6]}\nexpect: [{same_bits: {across: [batch]}}]\n");
  const auto fails = [&](int i, CellStatus status) {
    cells_[std::size_t(i)].attempts[0].status = status;
  };
  fails(1, CellStatus::failed), fails(2, CellStatus::timed_out), fails(3, CellStatus::failed);
  fails(4, CellStatus::recomputed_differs);
  cells_[5] = JudgeCell{JudgeCell::State::skipped, "no GPU", {}, "", ""};
  const Judged out = judged();
  const std::string why =
      "vacuous: 1 of 6 cells of the group has a result (1 different inside its batch, 2 failed, "
      "1 out of time, 1 skipped)";
  EXPECT_EQ(out.groups[0].judgement.reason, why);
  EXPECT_EQ(out.cells[0].judgement.reason, why);
}

TEST_F(JudgeTest, AGroupThatAFilterCutSaysHowManyCellsWereLeftOut) {
  use("axes: {batch: [1, 3], gpus: [1, 2]}\nexpect: [{same_bits: {across: [batch, gpus]}}]\n");
  const auto leave_out_last = [&] {
    matrix_.unselected.push_back(matrix_.cells.back());
    matrix_.cells.pop_back();
    cells_.pop_back();
  };
  leave_out_last();  // both axes still vary
  GroupResult group = judged().groups[0];
  EXPECT_EQ(group.judgement.verdict, Verdict::pass);
  EXPECT_EQ(group.judgement.reason, "1 of 4 cells were not selected");
  EXPECT_EQ(group.unselected_cells, 1);
  leave_out_last();  // no batch of 3 is left
  group = judged().groups[0];
  EXPECT_EQ(group.judgement.verdict, Verdict::not_run);
  EXPECT_EQ(group.judgement.reason,
            "not exercised: batch; what was compared agrees; 2 of 4 cells were not selected");
  leave_out_last();
  EXPECT_EQ(judged().cells[0].judgement.reason,
            "vacuous: 1 of 1 cell of the group has a result; 3 of 4 cells were not selected");
}

TEST_F(JudgeTest, RowsOfEqualResultsAreCountedOnceInARate) {
  use("axes: {batch: [1, 2, 3, 4]}\nexpect: [{measure: {across: [batch]}}]\n");
  EXPECT_EQ(judged().groups[0].comparable_rows, 0) << "nothing differs, so nothing could flip";
  for (const int i : {2, 3}) {
    auto& tokens = cells_[std::size_t(i)].attempts[0].prompts[1].tokens;
    tokens[7].digest.bytes[0] ^= 1;
  }
  const GroupResult group = judged().groups[0];
  EXPECT_EQ(group.compared_tokens, 48);
  EXPECT_EQ(group.differing, 2);
  EXPECT_EQ(group.comparable_rows, 16) << "the two cells are one result";
  EXPECT_DOUBLE_EQ(group.flip_rate_bound, seen_fault_rate(16));
}

TEST_F(JudgeTest, AttemptsThatDifferAreNondet) {
  use(kPair);
  cells_[1].attempts.push_back(trace_of(matrix_.cells[1], 2));
  EXPECT_EQ(verdicts(), "PASS NONDET");
}

TEST_F(JudgeTest, SomethingElseRanThanWasAsked) {
  use("axes: {batch: [3], gpus: [2], threads: [2], isa: [avx2], kv: [{kivi: 2}]}\n"
      "expect: [{measure: {across: [batch]}}]\n");
  const auto base = [](Observed&) {};
  EXPECT_EQ(after(base).substr(0, 10), "MISTRUSTED");  // vacuous: it is alone
  EXPECT_EQ(after([](Observed& o) { o.engine = "openblas"; }),
            "FAIL: engine reference was asked, openblas ran");
  EXPECT_EQ(after([](Observed& o) { o.device = "cuda"; }), "FAIL: device cpu was asked, cuda ran");
  EXPECT_EQ(after([](Observed& o) { o.isa = "scalar"; }), "FAIL: isa avx2 was asked, scalar ran");
  EXPECT_EQ(after([](Observed& o) { o.precision = "bf16"; }),
            "FAIL: precision fp32 was asked, bf16 ran");
  EXPECT_EQ(after([](Observed& o) { o.ranks = 1; }), "FAIL: gpus 2 was asked, 1 ran");
  EXPECT_EQ(after([](Observed& o) { o.kv = "exact"; }), "FAIL: kv kivi:2 was asked, exact ran");
  EXPECT_EQ(after([](Observed& o) { o.threads = 1; }),
            "MISTRUSTED: 2 threads were asked, at most 1 took work");
  EXPECT_EQ(after([](Observed& o) { o.bytes_moved = 0; }),
            "MISTRUSTED: no bytes moved between 2 ranks");
  EXPECT_EQ(after([](Observed& o) { o.live_rows = 2; }),
            "MISTRUSTED: batch 3 never had more than 2 live rows");
  EXPECT_EQ(after([](Observed& o) { o.cached_reads = 0; }), "MISTRUSTED: the cache was never hit");
  EXPECT_EQ(after([](Observed& o) { o.kv_coded = 0; }),
            "MISTRUSTED: kv kivi:2 coded and evicted nothing");
  EXPECT_EQ(after([](Observed& o) { o.kv_coded = 0, o.kv_identity = true; }), after(base))
      << "a policy that could not act is no fault";
}

TEST_F(JudgeTest, APatchThatPutInNothingIsSeen) {
  use("axes: {batch: [1], teacher_forced: [true], patch: [{kv: all, from: {cache: off}}]}\n"
      "expect: [{measure: {across: [batch]}}]\n");
  const auto ran = [](Observed& o) {
    o.patch = "kv:all+from:(cache:off)", o.patch_rows = 4, o.patch_changed = 1;
  };
  EXPECT_EQ(after(ran).substr(0, 20), "MISTRUSTED: vacuous:");
  EXPECT_EQ(after([](Observed&) {}), "FAIL: patch kv:all+from:(cache:off) was asked, none ran");
  EXPECT_EQ(after([&](Observed& o) { ran(o), o.patch_rows = 0; }),
            "MISTRUSTED: patch kv:all+from:(cache:off) put in no row");
  EXPECT_EQ(after([&](Observed& o) { ran(o), o.patch_doubt = "no position was recomputed"; }),
            "MISTRUSTED: the donor: no position was recomputed");
  EXPECT_TRUE(judged().notes.empty());
  ran(cells_[0].attempts[0].observed);
  cells_[0].attempts[0].observed.patch_identity = true;
  const Judged identity = judged();
  ASSERT_EQ(identity.notes.size(), 1u);
  EXPECT_NE(identity.notes[0].find("is an identity: every row that was put in had the very bits"),
            std::string::npos)
      << identity.notes[0];
}

TEST_F(JudgeTest, AReplicaWithoutAPromptIsSeen) {
  use("axes: {replicas: [3], batch: [1]}\nexpect: [{measure: {across: [batch]}}]\n");
  EXPECT_EQ(after([](Observed& o) { o.replicas = 2; }),
            "MISTRUSTED: 3 replicas were asked, 2 had a prompt");
}

TEST_F(JudgeTest, ReplicasRunAsManyAsWereAskedInTheirOrder) {
  use("axes: {replicas: [2], batch: [{size: 3, order: reversed}]}\n"
      "expect: [{measure: {across: [batch]}}]\n");
  EXPECT_EQ(after([](Observed&) {}).substr(0, 20), "MISTRUSTED: vacuous:");
  EXPECT_EQ(after([](Observed& o) { o.replicas = 1, o.out_of_order = 2; }),
            "FAIL: replicas 2 was asked, 1 ran");
  EXPECT_EQ(after([](Observed& o) { o.replicas = 3, o.out_of_order = 6; }),
            "FAIL: replicas 2 was asked, 3 ran");
  EXPECT_EQ(after([](Observed& o) { o.out_of_order = 2; }),
            "FAIL: batch order reversed was asked, another ran")
      << "each replica turns its own three places";
}

TEST_F(JudgeTest, ATruncatedTraceFails) {
  use(kPair);
  cells_[1].attempts[0].prompts[0].tokens.pop_back();
  EXPECT_EQ(verdicts(), "PASS FAIL");
  cells_[1].attempts[0].prompts[0].tokens.clear();
  EXPECT_EQ(verdicts(), "PASS FAIL");
}

TEST_F(JudgeTest, ExpectedFailures) {
  use(std::string(kPair) + "xfail: [{where: batch=3, reason: known, until: 2026-12-31}]\n");
  EXPECT_EQ(verdicts(), "PASS XPASS");
  cells_[1].attempts[0] = trace_of(matrix_.cells[1], 2);
  EXPECT_EQ(verdicts(), "PASS XFAIL");
  scenario_.xfail[0].until = "2026-11-28";
  EXPECT_EQ(verdicts(), "PASS DIFF");
  EXPECT_TRUE(judged().xfail_expired);
}

}  // namespace
}  // namespace isobit
