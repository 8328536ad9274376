// How tokens were drawn against how they were asked to be.
#include <gtest/gtest.h>

#include "harness/axes/axes.h"
#include "harness/judge/judge.h"
#include "tests/fakes/engine.h"

namespace isobit {
namespace {

std::string judged(const std::string& asked, const std::string& ran, const char* engine = "") {
  GenerateRequest request = requested({{"decode", *axis_value("decode", asked)}});
  request.prompts.push_back({{1, 2, 3}, {}, "p"});
  CellTrace trace = fakes::made_up_trace(request);
  trace.observed.decode = ran;
  if (*engine != '\0') {
    request.backend.engine.name = engine;
    trace.observed.engine = std::string(engine) + ":someone";
  }
  const Judgement judgement = check_observed(request, trace);
  return std::string(name_of(judgement.verdict)) +
         (judgement.reason.empty() ? "" : ": " + judgement.reason);
}

TEST(DrawsAsked, WhatRanIsWhatWasAsked) {
  EXPECT_EQ(judged("greedy", "greedy"), "PASS");
  EXPECT_EQ(judged("top_k:50", "top_k:50"), "PASS");
  EXPECT_EQ(judged("top_k:50", "greedy"), "FAIL: decode top_k:50 was asked, greedy ran");
  EXPECT_EQ(judged("greedy", "sample"), "FAIL: decode greedy was asked, sample ran");
  EXPECT_EQ(judged("seed:3+top_k:50", "seed:4+top_k:50"),
            "FAIL: decode seed:3+top_k:50 was asked, seed:4+top_k:50 ran");
  EXPECT_EQ(judged("top_k:50", ""), "MISTRUSTED: nothing says how tokens were drawn");
  EXPECT_EQ(judged("greedy", ""), "PASS") << "traces from before it was observed";
}

TEST(DrawsAsked, AnEngineInAnotherProcessIsBelievedUntilItSaysOtherwise) {
  EXPECT_EQ(judged("top_k:50", "", "exec"), "PASS");
  EXPECT_EQ(judged("top_k:50", "top_k:50", "exec"), "PASS");
  EXPECT_EQ(judged("top_k:50", "greedy", "exec"), "FAIL: decode top_k:50 was asked, greedy ran");
}

}  // namespace
}  // namespace isobit
