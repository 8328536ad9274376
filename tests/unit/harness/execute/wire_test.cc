// Messages of a worker that has gone wrong: each is refused, none is undefined to read, and none
// makes the parent ask for more memory than the message has bytes.
#include "harness/execute/wire.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <string>
#include <vector>

namespace isobit {
namespace {

template <class T>
bool reads(const std::string& message) {
  T value{};
  wire::Reader reader(message);
  reader.get(value);
  return reader.done();
}

template <class T>
std::string written(const T& value) {
  wire::Writer writer;
  writer.put(value);
  return writer.bytes();
}

JobResult sample() {
  JobResult result;
  result.id = 3;
  result.trace.status = CellStatus::recomputed_differs;
  result.trace.level = TraceLevel::ops;
  PromptTrace prompt;
  prompt.id = "p0";
  prompt.tokens.resize(2);
  prompt.tokens[1].top_count = kTopK;
  prompt.observations.push_back({7, 1, Site::logits, {}});
  result.trace.prompts = {prompt, prompt};
  result.captured[{1, 2}] = {0.5, -1.0};
  return result;
}

TEST(Wire, WhatWasWrittenIsReadToTheLastByte) {
  const std::string message = written(sample());
  JobResult got;
  wire::Reader reader(message);
  reader.get(got);
  ASSERT_TRUE(reader.done());
  EXPECT_EQ(written(got), message);
  for (std::size_t size = 0; size < message.size(); ++size) {
    EXPECT_FALSE(reads<JobResult>(message.substr(0, size))) << size;
  }
  EXPECT_FALSE(reads<JobResult>(message + '\0')) << "something is left over";
}

TEST(Wire, ARowOfValuesComesOnceAndInItsPlace) {
  JobResult result = sample();
  result.captured = {};
  const std::string empty = written(result);
  const auto with = [&](std::initializer_list<int> positions) {
    std::string message =
        empty.substr(0, empty.size() - 8) + written(std::uint64_t(positions.size()));
    for (const int position : positions) {
      message += written(0) + written(std::int64_t{position}) + written(std::vector<double>{});
    }
    return message;
  };
  EXPECT_TRUE(reads<JobResult>(with({4, 5})));
  EXPECT_FALSE(reads<JobResult>(with({5, 5})));
  EXPECT_FALSE(reads<JobResult>(with({5, 4})));
}

TEST(Wire, BytesThatAreNoValueAreRefused) {
  EXPECT_TRUE(reads<bool>("\1"));
  EXPECT_FALSE(reads<bool>("\2"));
  EXPECT_TRUE(reads<CellStatus>("\5"));
  EXPECT_FALSE(reads<CellStatus>("\6"));
  EXPECT_FALSE(reads<TraceLevel>("\3"));
  std::string row = written(std::vector<Observation>(2));
  EXPECT_TRUE(reads<std::vector<Observation>>(row));
  row[8 + sizeof(Observation) + offsetof(Observation, site)] = char(kSites);
  EXPECT_FALSE(reads<std::vector<Observation>>(row));
  const std::string tokens = written(std::vector<TokenRecord>(1));
  EXPECT_TRUE(reads<std::vector<TokenRecord>>(tokens));
  for (const std::size_t field :
       {offsetof(TokenRecord, non_finite), offsetof(TokenRecord, top_count)}) {
    for (const char bad : {'\x9', '\xff'}) {
      std::string broken = tokens;
      broken[8 + field] = bad;
      EXPECT_FALSE(reads<std::vector<TokenRecord>>(broken)) << field;
    }
  }
}

/// A count alone must not make room: a prompt takes hundreds of bytes, its count one.
TEST(Wire, ACountWithoutItsItemsIsRefused) {
  for (const std::uint64_t count : {std::uint64_t{2}, std::uint64_t{1} << 40, ~std::uint64_t{0}}) {
    const std::string message = written(count) + std::string(64, '\0');
    EXPECT_FALSE(reads<std::string>(message.substr(0, 9)));
    EXPECT_FALSE(reads<std::vector<std::int64_t>>(written(count) + "1234567"));
    EXPECT_FALSE(reads<std::vector<PromptTrace>>(message));
    EXPECT_FALSE(reads<std::vector<std::vector<double>>>(written(count) + "12345678"));
  }
}

}  // namespace
}  // namespace isobit
