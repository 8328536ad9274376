// Axis model: names of paths and of merged models, and the words behind them.
#include <gtest/gtest.h>

#include "harness/axes/axes.h"
#include "harness/merged.h"

namespace isobit {
namespace {

constexpr const char* kMerged =
    R"({"base": "models/a", "tasks": ["t/b", "c.tasks:d"], "merge": {"arithmetic": 0.4},)"
    R"( "store": {"rtvq": [3, 2]}})";

AxisValue value_of(const std::string& word) {
  const auto value = axis_value("model", word);
  EXPECT_TRUE(value) << word << ": " << value.error().message;
  return value ? *value : AxisValue{};
}

TEST(ModelAxis, APathIsNamedByItsLastComponent) {
  EXPECT_EQ(value_of("tuned/a/").text, "a");
  EXPECT_EQ(std::get<std::string>(value_of("tuned/a/").setting), "tuned/a/");
  EXPECT_EQ(value_of("../x.gguf").text, "x.gguf");
  EXPECT_EQ(value_of("default-7m").text, "default-7m");
}

TEST(ModelAxis, AMergedModelIsNamedByItsMap) {
  const AxisValue value = value_of(kMerged);
  EXPECT_EQ(value.text, "base:a+merge:(arithmetic:0.4)+store:(rtvq:3/2)+tasks:/b/c.tasks%3Ad");
  EXPECT_EQ(std::get<std::string>(value.setting), text_of(*parse_merged(kMerged)));
  EXPECT_TRUE(value_matches(value, "base:a"));
  EXPECT_FALSE(value_matches(value, "a")) << "that is its base";
  // The text alone says the same of words without folders.
  const AxisValue again = value_of(value.text);
  EXPECT_EQ(again.text, value.text);
  EXPECT_EQ(std::get<std::string>(again.setting), meaning_of(*parse_merged(kMerged)));
}

TEST(ModelAxis, ANameIsNoMap) {
  for (const char* word : {"x/base:a", "x/{a", "base:", "base:a+tasks:b", "a\nb", "base:a+base:b",
                           "base:a+store:(rtvq:3)+tasks:/b"}) {
    EXPECT_FALSE(axis_value("model", word)) << word;
  }
}

TEST(ModelAxis, WhatAKeySaysIsTakenAsItIs) {
  EXPECT_EQ(model_value("x/base:a").text, "base:a");
  EXPECT_EQ(model_value(kMerged).text, value_of(kMerged).text);
}

}  // namespace
}  // namespace isobit
