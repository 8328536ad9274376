// The text of a merged model: one form, and what is none.
#include "harness/merged.h"

#include <gtest/gtest.h>

namespace isobit {
namespace {

std::string again(const std::string& text) {
  const auto merged = parse_merged(text);
  return merged ? text_of(*merged) : merged.error().message;
}

TEST(Merged, HasOneText) {
  EXPECT_EQ(again(R"({"tasks": ["f/a"], "base": "m", "store": {"tvq": 4},
                      "merge": {"arithmetic": 1}})"),
            R"({"base":"m","merge":{"arithmetic":1.0},"store":{"tvq":4},"tasks":["f/a"]})");
  EXPECT_EQ(again(R"({"base": "m", "tasks": [], "merge": "none", "store": "none"})"),
            R"({"base":"m","tasks":[]})");
  const std::string whole = R"({"base":"x/m","merge":{"arithmetic":-0.3},"store":{"rtvq":[3,2]},)"
                            R"("tasks":["f/a.safetensors","g.tasks:b"]})";
  EXPECT_EQ(again(whole), whole);
  EXPECT_EQ(meaning_of(*parse_merged(whole)),
            R"({"base":"m","merge":{"arithmetic":-0.3},"store":{"rtvq":[3,2]},)"
            R"("tasks":["a.safetensors","g.tasks:b"]})");
  EXPECT_EQ(text_of(parse_merged(whole)->store), "rtvq 3+2");
  EXPECT_TRUE(is_merged(whole));
  EXPECT_FALSE(is_merged("default-7m"));
  EXPECT_FALSE(is_merged(""));
}

TEST(Merged, SaysWhichKeyIsWrong) {
  const auto with = [](const std::string& rest) {
    return again(R"({"base": "m", "tasks": ["a"], )" + rest + "}");
  };
  const std::string half = R"("merge": {"arithmetic": 0.5}, )";
  EXPECT_NE(again("{").find("must be one JSON object"), std::string::npos);
  EXPECT_NE(again(R"({"base": "m", "base": "n", "tasks": []})").find("without duplicate keys"),
            std::string::npos);
  EXPECT_NE(again(R"({"tasks": []})").find("base: is missing"), std::string::npos);
  EXPECT_NE(again(R"({"base": "m", "task": []})").find("did you mean \"tasks\"?"),
            std::string::npos);
  EXPECT_NE(again(R"({"base": "{}", "tasks": []})").find("is a merged model itself"),
            std::string::npos);
  EXPECT_NE(with(R"("store": "none")").find("merge: must be {arithmetic"), std::string::npos);
  EXPECT_NE(with(R"("merge": {"arithmetic": 1e7})").find("-1e6 to 1e6"), std::string::npos);
  EXPECT_NE(with(R"("merge": {"arithmetic": 1e999})").find("merged model"), std::string::npos);
  EXPECT_NE(with(R"("merge": {"arithmetics": 1})").find("did you mean \"arithmetic\"?"),
            std::string::npos);
  EXPECT_NE(with(half + R"("store": {"tvq": 9})").find("1 to 8 bits"), std::string::npos);
  EXPECT_NE(with(half + R"("store": {"tvq": 99999999999})").find("1 to 8 bits"), std::string::npos);
  EXPECT_NE(with(half + R"("store": {"rtvq": [3, 0]})").find("1 to 8 bits"), std::string::npos);
  EXPECT_NE(with(half + R"("store": {"rtvq": 3})").find("[bits of base"), std::string::npos);
  EXPECT_NE(with(half + R"("store": {"tqv": 3})").find("did you mean \"tvq\"?"), std::string::npos);
  EXPECT_NE(again(R"({"base": "m", "tasks": [], "store": {"tvq": 3}})").find("nothing to store"),
            std::string::npos);
  EXPECT_NE(
      again(R"({"base": "m", "tasks": [], "merge": {"arithmetic": 1}})").find("nothing to merge"),
      std::string::npos);
}

}  // namespace
}  // namespace isobit
