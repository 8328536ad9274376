// Texts of NVIDIA's library choices: canonical, strict, and the same after a round trip.
#include "runtime/backends/vendor_choice.h"

#include <gtest/gtest.h>

namespace isobit {
namespace {

using Pairs = std::vector<std::pair<std::string, std::string>>;

std::string text_of(const std::string& engine, const Pairs& pairs) {
  const auto choice = vendor_choice(engine, pairs);
  if (!choice) return "error: " + choice.error().message;
  const std::string text = vendor_text(*choice);
  const auto again = parse_vendor_text(engine, text);
  EXPECT_TRUE(again) << text;
  EXPECT_EQ(again ? vendor_text(*again) : "", text);
  return text;
}

TEST(VendorChoice, WhatIsFreeHasNoText) {
  EXPECT_EQ(text_of("cublas", {{"cublas", "default"}}), "");
  EXPECT_EQ(text_of("cublas", {{"cublas", "-1"}}), "");
  EXPECT_EQ(text_of("cublaslt", {{"cublaslt", "heuristic"}, {"index", "0"}}), "");
  EXPECT_EQ(text_of("cublaslt", {{"math", "default"}, {"cublaslt", "heuristic"}}), "");
}

TEST(VendorChoice, OneTextAMeaning) {
  EXPECT_EQ(text_of("cublas", {{"cublas", "05"}}), "5");
  EXPECT_EQ(text_of("cublas", {{"math", "pedantic"}, {"cublas", "default"}}),
            "default+math:pedantic");
  EXPECT_EQ(text_of("cublaslt", {{"cublaslt", "heuristic"}, {"index", "3"}}), "heuristic+index:3");
  EXPECT_EQ(text_of("cublaslt", {{"cublaslt", "heuristic"}, {"algorithm", "66"}}),
            "heuristic+algorithm:66");
  EXPECT_EQ(text_of("cublaslt", {{"tile", "20"},
                                 {"cublaslt", "66"},
                                 {"stages", "4"},
                                 {"split_k", "01"},
                                 {"cluster", "2"},
                                 {"inner", "0"},
                                 {"swizzle", "1"},
                                 {"reduction", "2"},
                                 {"custom", "7"}}),
            "66+cluster:2+custom:7+inner:0+reduction:2+split_k:1+stages:4+swizzle:1+tile:20");
  EXPECT_EQ(text_of("cublaslt", {{"cublaslt", "0"}, {"math", "tf32"}}), "0+math:tf32");
}

TEST(VendorChoice, ValuesAreWhatTheTextSays) {
  const auto exact = parse_vendor_text("cublaslt", "66+split_k:3+tile:20");
  ASSERT_TRUE(exact);
  EXPECT_TRUE(exact->lt && exact->exact);
  EXPECT_EQ(exact->algorithm, 66);
  for (std::size_t i = 0; i < kLtOptions.size(); ++i) {
    const std::string name = kLtOptions[i].name;
    const bool given = name == "split_k" || name == "tile";
    EXPECT_EQ(exact->options[i].has_value(), given) << name;
    const std::uint32_t wanted = name == "tile" ? 20 : name == "split_k" ? 3 : 0;
    EXPECT_EQ(exact->options[i].value_or(0), wanted) << name;
  }
  const auto limited = parse_vendor_text("cublaslt", "heuristic+algorithm:21+index:2");
  ASSERT_TRUE(limited);
  EXPECT_FALSE(limited->exact);
  EXPECT_EQ(limited->algorithm, 21);
  EXPECT_EQ(limited->index, 2);
  const auto free = parse_vendor_text("cublas", "");
  ASSERT_TRUE(free);
  EXPECT_EQ(free->algorithm, -1);
}

TEST(VendorChoice, ErrorsNameTheOption) {
  EXPECT_EQ(text_of("cublas", {{"cublas", "24"}}),
            "error: algorithm '24' of engine cublas is neither default nor a whole number from -1 "
            "to 23");
  EXPECT_EQ(text_of("cublaslt", {{"cublaslt", "best"}}),
            "error: algorithm 'best' of engine cublaslt is neither heuristic nor a whole number "
            "from 0 to 4095");
  EXPECT_EQ(text_of("cublaslt", {{"cublaslt", "66"}, {"split_k", "0"}}),
            "error: engine cublaslt, option split_k: '0' is not a whole number from 1 to 4096");
  EXPECT_EQ(text_of("cublaslt", {{"cublaslt", "66"}, {"tile", "20x"}}),
            "error: engine cublaslt, option tile: '20x' is not a whole number from 0 to 65535");
  EXPECT_EQ(text_of("cublas", {{"cublas", "1"}, {"math", "fast"}}),
            "error: engine cublas, option math: 'fast' is not default, pedantic or tf32");
  EXPECT_EQ(text_of("cublaslt", {{"cublaslt", "66"}, {"index", "1"}}),
            "error: unknown option 'index' of engine cublaslt");
  EXPECT_EQ(text_of("cublaslt", {{"cublaslt", "heuristic"}, {"tile", "1"}}),
            "error: unknown option 'tile' of engine cublaslt");
  EXPECT_EQ(text_of("cublas", {{"cublas", "1"}, {"cublas", "2"}}),
            "error: option 'cublas' of engine cublas is given twice");
}

}  // namespace
}  // namespace isobit
