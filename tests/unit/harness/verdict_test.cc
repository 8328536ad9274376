// Every row of the exit-code table, and that a worse thing always wins.
#include "harness/verdict.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>
#include <string>
#include <vector>

namespace isobit {
namespace {

RunOutcome outcome_of(const std::vector<Verdict>& verdicts, std::int64_t tokens = 100) {
  RunOutcome outcome;
  for (const Verdict verdict : verdicts) ++outcome.counts[std::size_t(verdict)];
  outcome.compared_tokens = tokens;
  return outcome;
}

TEST(Verdict, NamesAreThoseOfTheInterface) {
  std::set<std::string> names;
  for (int i = 0; i < kVerdicts; ++i) names.insert(name_of(static_cast<Verdict>(i)));
  EXPECT_EQ(names, (std::set<std::string>{"PASS", "DIFF", "NONDET", "FAIL", "MISTRUSTED", "NOGOLD",
                                          "STALE", "OBSOLETE", "XFAIL", "XPASS", "SKIP", "NOT-RUN",
                                          "DEFERRED"}));
  EXPECT_STREQ(name_of(Severity::none), "");
  EXPECT_STREQ(name_of(Severity::bits_only), "bits only");
  EXPECT_STREQ(name_of(Severity::near_tie), "near tie");
  EXPECT_STREQ(name_of(Severity::flipped), "flipped");
}

TEST(Verdict, EachVerdictBesidePassGivesItsCode) {
  using enum Verdict;
  const std::pair<Verdict, int> table[] = {
      {pass, 0},     {diff, 1},  {nondet, 1}, {fail, 1}, {mistrusted, 7}, {nogold, 5},  {stale, 5},
      {obsolete, 5}, {xfail, 0}, {xpass, 1},  {skip, 0}, {not_run, 8},    {deferred, 8}};
  ASSERT_EQ(std::size(table), std::size_t{kVerdicts});
  for (const auto& [verdict, code] : table) {
    EXPECT_EQ(exit_code(outcome_of({pass, verdict})), code) << name_of(verdict);
  }
}

TEST(Verdict, NothingIsNotSuccess) {
  using enum Verdict;
  EXPECT_EQ(exit_code(outcome_of({}, 0)), kExitNothing);
  EXPECT_EQ(exit_code(outcome_of({pass}, 0)), kExitNothing) << "no token was compared";
  EXPECT_EQ(exit_code(outcome_of({pass, skip}, 0)), kExitNothing);
  EXPECT_EQ(exit_code(outcome_of({skip, skip}, 0)), kExitSkipped);
  EXPECT_EQ(exit_code(outcome_of({skip, nogold}, 0)), kExitGolden);
}

TEST(Verdict, LenientOnlyWarns) {
  RunOutcome outcome = outcome_of({Verdict::pass, Verdict::mistrusted});
  outcome.lenient = true;
  EXPECT_EQ(exit_code(outcome), kExitOk);
}

TEST(Verdict, AnExpiredExpectedFailureFails) {
  RunOutcome outcome = outcome_of({Verdict::xfail});
  EXPECT_EQ(exit_code(outcome), kExitOk);
  outcome.xfail_expired = true;
  EXPECT_EQ(exit_code(outcome), kExitDifferent);
}

TEST(Verdict, PrecedenceIsTheInterfaceOrder) {
  // Everything bad at once; taking the worst away must show the next: 130, 3, 1, 7, 6, 8, 5, 4, 77.
  using enum Verdict;
  RunOutcome outcome = outcome_of({diff, mistrusted, not_run, nogold, pass, skip}, 0);
  outcome.interrupted = outcome.internal_error = outcome.environment_mismatch = true;
  EXPECT_EQ(exit_code(outcome), kExitInterrupted);
  outcome.interrupted = false;
  EXPECT_EQ(exit_code(outcome), kExitInternal);
  outcome.internal_error = false;
  EXPECT_EQ(exit_code(outcome), kExitDifferent);
  outcome.counts[std::size_t(diff)] = 0;
  EXPECT_EQ(exit_code(outcome), kExitMistrusted);
  outcome.counts[std::size_t(mistrusted)] = 0;
  EXPECT_EQ(exit_code(outcome), kExitEnvironment);
  outcome.environment_mismatch = false;
  EXPECT_EQ(exit_code(outcome), kExitNotRun);
  outcome.counts[std::size_t(not_run)] = 0;
  EXPECT_EQ(exit_code(outcome), kExitGolden);
  outcome.counts[std::size_t(nogold)] = 0;
  EXPECT_EQ(exit_code(outcome), kExitNothing);
  outcome.counts[std::size_t(pass)] = 0;
  EXPECT_EQ(exit_code(outcome), kExitSkipped);
}

TEST(Verdict, RunsTogetherEndAsTheGravestButSkippedBesideFineIsFine) {
  EXPECT_EQ(joint_exit_code({}), kExitNothing);
  EXPECT_EQ(joint_exit_code({kExitSkipped}), kExitSkipped);
  EXPECT_EQ(joint_exit_code({kExitSkipped, kExitSkipped}), kExitSkipped);
  EXPECT_EQ(joint_exit_code({kExitSkipped, kExitOk}), kExitOk);
  EXPECT_EQ(joint_exit_code({kExitOk, kExitSkipped}), kExitOk);
  EXPECT_EQ(joint_exit_code({kExitOk, kExitSkipped, kExitGolden}), kExitGolden);
  EXPECT_EQ(joint_exit_code({kExitGolden, kExitDifferent, kExitSkipped}), kExitDifferent);
}

TEST(Verdict, TheRateOfAFaultThatNExecutionsShowIsExact) {
  EXPECT_EQ(seen_fault_rate(0), 1);
  EXPECT_DOUBLE_EQ(seen_fault_rate(1), 0.95);
  for (const std::int64_t n : {2, 3, 59, 1000}) {
    // A fault of this rate is missed by all n with 5 %.
    EXPECT_NEAR(std::pow(1 - seen_fault_rate(n), double(n)), 0.05, 1e-12) << n;
  }
  EXPECT_LT(seen_fault_rate(59), 0.05);  // the usual table: 59 clean ones for 5 %
  EXPECT_GT(seen_fault_rate(58), 0.05);
}

}  // namespace
}  // namespace isobit
