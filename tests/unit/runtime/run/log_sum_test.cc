// Log-sum-exps of rows: against exact values, from a run, and only when they are asked for.
#include "runtime/run/log_sum.h"

#include <gtest/gtest.h>

#include <bit>
#include <cstdio>
#include <vector>

#include "runtime/run/generate.h"
#include "tests/fakes/model.h"

namespace isobit {
namespace {

template <class T>
double of(const std::vector<T>& row) {
  return row_log_sum(std::as_bytes(std::span(row)), sizeof(T) == 8);
}

std::string digits(double value) {
  char text[40];
  std::snprintf(text, sizeof text, "%.15g", value);
  return text;
}

TEST(LogSum, IsThatOfTheRowInFp64) {
  // mpmath, 50 digits: log(sum(exp(x))) of x = i/8 - 20 for i < 320, and of 1, 2, 3.
  std::vector<float> row;
  for (int i = 0; i < 320; ++i) row.push_back(float(i) / 8.0F - 20.0F);
  EXPECT_EQ(digits(of(row)), "22.0162905847632");
  EXPECT_EQ(digits(of(std::vector<double>{1, 2, 3})), "3.40760596444438");
  EXPECT_EQ(digits(of(std::vector<float>{1, 2, 3})), "3.40760596444438");
  EXPECT_EQ(digits(of(std::vector<float>{7})), "7");
}

TEST(LogSum, OfARunIsThatOfItsRowsAndOfNoOtherRun) {
  Runtime runtime(fakes::toy_model(fakes::worked_example()));
  for (const Precision precision : {Precision::fp32, Precision::fp64, Precision::bf16}) {
    GenerateRequest request;
    request.precision = precision;
    request.prompts = {{fakes::prompt(20), {}}};
    request.max_new_tokens = 3;
    const auto plain = runtime.generate(request);
    request.log_sums = true;
    const auto asked = runtime.generate(request);
    request.capture = {{0, 19}, {0, 20}, {0, 21}};
    const auto captured = runtime.generate(request);
    ASSERT_TRUE(plain && asked && captured);
    EXPECT_EQ(cell_root(plain->trace), cell_root(asked->trace));
    for (std::size_t t = 0; t < 3; ++t) {
      const TokenRecord& token = asked->trace.prompts[0].tokens[t];
      const RowValues& row = captured->captured.at({0, token.position});
      EXPECT_EQ(std::bit_cast<std::uint64_t>(token.log_sum), std::bit_cast<std::uint64_t>(of(row)));
      EXPECT_EQ(std::bit_cast<std::uint64_t>(plain->trace.prompts[0].tokens[t].log_sum), 0U);
    }
  }
}

TEST(FedLogit, IsExactlyTheRowsAtWhatWasFed) {
  Runtime runtime(fakes::toy_model(fakes::worked_example()));
  const std::vector<std::int32_t> teacher = {3, 1, 4};
  for (const Precision precision : {Precision::fp32, Precision::fp64, Precision::bf16}) {
    for (const bool taught : {false, true}) {
      GenerateRequest request;
      request.precision = precision;
      request.prompts = {{fakes::prompt(20), {}}};
      if (taught) request.prompts[0].teacher = teacher;
      request.max_new_tokens = 3;
      const auto plain = runtime.generate(request);
      request.fed_logits = true;
      request.capture = {{0, 19}, {0, 20}, {0, 21}};
      const auto asked = runtime.generate(request);
      ASSERT_TRUE(plain && asked);
      EXPECT_EQ(cell_root(plain->trace), cell_root(asked->trace));
      for (std::size_t t = 0; t < 3; ++t) {
        const TokenRecord& token = asked->trace.prompts[0].tokens[t];
        const RowValues& row = asked->captured.at({0, token.position});
        EXPECT_EQ(token.fed, taught ? teacher[t] : token.id);
        EXPECT_EQ(std::bit_cast<std::uint64_t>(token.fed_logit),
                  std::bit_cast<std::uint64_t>(row[std::size_t(token.fed)]));
        EXPECT_NE(plain->trace.prompts[0].tokens[t].fed_logit,
                  plain->trace.prompts[0].tokens[t].fed_logit)
            << "not asked for";
      }
    }
  }
}

TEST(FedLogit, OfAnIdThatTheRowDoesNotHaveIsNotRecorded) {
  const std::vector<float> row = {1, 2};
  const auto bytes = std::as_bytes(std::span(row));
  EXPECT_EQ(row_logit(bytes, false, 1), 2.0);
  for (const std::int32_t id : {-1, 2, 2147483647}) {
    const double value = row_logit(bytes, false, id);
    EXPECT_NE(value, value) << id;
  }
}

}  // namespace
}  // namespace isobit
