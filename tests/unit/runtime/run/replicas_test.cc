// Prompts dealt to replicas: every bit stays, and what was observed says what ran.
#include "runtime/run/replicas.h"

#include <gtest/gtest.h>

#include <map>

#include "tests/conformance/trace_bits.h"
#include "tests/fakes/model.h"

namespace isobit {
namespace {

GenerateRequest request_of(int replicas, int prompts) {
  GenerateRequest request;
  request.replicas = replicas;
  request.max_new_tokens = 4;
  request.level = TraceLevel::layers;
  for (int p = 0; p < prompts; ++p) {
    PromptTokens prompt;
    for (int i = 0; i < 3 + 5 * p; ++i) prompt.tokens.push_back((7 * p + 11 * i) % 100);
    request.prompts.push_back(prompt);
  }
  return request;
}

CellTrace ran(const GenerateRequest& request) {
  Runtime runtime(fakes::toy_model(fakes::worked_example()));
  auto result = runtime.generate(request);
  EXPECT_TRUE(result) << result.error().text();
  if (!result) return {};
  EXPECT_EQ(result->trace.status, CellStatus::ok) << result->trace.reason;
  return std::move(result->trace);
}

TEST(Replicas, SharesAreHalvesAndQuartersInOrder) {
  std::mutex mutex;
  for (const auto& [replicas, want] : std::map<int, std::vector<std::size_t>>{
           {1, {7}}, {2, {3, 4}}, {4, {1, 2, 2, 2}}, {9, {1, 1, 1, 1, 1, 1, 1}}}) {
    const GenerateRequest whole = request_of(replicas, 7);
    const auto shares = deal_prompts(whole, mutex);
    ASSERT_EQ(shares.size(), want.size());
    std::size_t next = 0;
    for (std::size_t r = 0; r < shares.size(); ++r) {
      EXPECT_EQ(shares[r].replicas, 1);
      ASSERT_EQ(shares[r].prompts.size(), want[r]);
      for (const PromptTokens& prompt : shares[r].prompts) {
        EXPECT_EQ(prompt.tokens, whole.prompts[next].tokens);
        EXPECT_EQ(prompt.id, std::to_string(next++)) << "messages name the prompt of the whole";
      }
    }
    EXPECT_EQ(next, 7u);
  }
}

TEST(Replicas, GiveTheBitsOfOne) {
  const std::string want = bits_of_trace(ran(request_of(1, 7)));
  ASSERT_GT(want.size(), 1000u);
  for (const int replicas : {2, 4, 7}) {
    for (const int batch : {1, 3}) {
      GenerateRequest request = request_of(replicas, 7);
      request.batch.size = batch;
      const CellTrace trace = ran(request);
      EXPECT_EQ(bits_of_trace(trace), want) << replicas << " replicas, batch " << batch;
      EXPECT_EQ(trace.observed.replicas, replicas);
      EXPECT_EQ(trace.observed.ranks, 1);
      EXPECT_TRUE(trace.observed.virtual_ranks);
      EXPECT_EQ(trace.observed.live_rows, batch);
    }
  }
}

TEST(Replicas, HaveWeightsAndCachesOfTheirOwn) {
  const Observed one = ran(request_of(1, 8)).observed;
  const Observed four = ran(request_of(4, 8)).observed;
  EXPECT_GT(one.weight_bytes, 0);
  EXPECT_EQ(four.weight_bytes, 4 * one.weight_bytes);
  // Of one sequence at a time the longest counts: 38 tokens and 3 fed. Four replicas' longest have
  // 8, 18, 28 and 38 tokens.
  EXPECT_EQ(four.kv_bytes * 41, one.kv_bytes * (11 + 21 + 31 + 41));
  EXPECT_EQ(four.steps, one.steps);
  EXPECT_EQ(four.max_position, one.max_position);
}

TEST(Replicas, MoreThanPromptsAreSeen) {
  EXPECT_EQ(ran(request_of(4, 3)).observed.replicas, 3);
}

TEST(Replicas, CapturesAndSpillsHaveTheNumbersOfTheWhole) {
  GenerateRequest request = request_of(2, 5);
  request.capture = {{0, 2}, {1, 8}, {4, 23}};
  std::map<std::pair<int, std::int64_t>, std::size_t> spilled;
  request.spill = [&](int prompt, std::int64_t position, std::span<const std::byte> row) {
    spilled[{prompt, position}] = row.size();
  };
  Runtime runtime(fakes::toy_model(fakes::worked_example()));
  const auto two = runtime.generate(request);
  ASSERT_TRUE(two);
  EXPECT_EQ(spilled.size(), 5u * 4u);
  request.replicas = 1;
  const auto whole = runtime.generate(request);
  ASSERT_TRUE(whole);
  ASSERT_EQ(two->captured.size(), 3u);
  EXPECT_EQ(two->captured, whole->captured);
}

TEST(Replicas, OneThatFailsFailsTheCell) {
  GenerateRequest request = request_of(2, 4);
  request.residual = [](int, int, std::int64_t position, std::span<double> residual) {
    if (position == 17) residual[0] = std::numeric_limits<double>::quiet_NaN();  // the last prompt
  };
  Runtime runtime(fakes::toy_model(fakes::worked_example()));
  const auto result = runtime.generate(request);
  ASSERT_TRUE(result);
  EXPECT_EQ(result->trace.status, CellStatus::non_finite);
  EXPECT_EQ(result->trace.reason, "prompt 3, position 17: non-finite logit");
}

TEST(Replicas, AreRefusedWithRanks) {
  GenerateRequest request = request_of(2, 4);
  request.ranks = 2;
  Runtime runtime(fakes::toy_model(fakes::worked_example()));
  const auto result = runtime.generate(request);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().text(),
            "replicas: 2 and gpus: 2: a replica has one rank; leave one of them out, or exclude "
            "the pair");
}

}  // namespace
}  // namespace isobit
