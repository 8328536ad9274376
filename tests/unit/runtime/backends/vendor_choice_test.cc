// Texts of NVIDIA's library choices: canonical, strict, and the same after a round trip; without
// CUDA too.
#include "runtime/backends/vendor_choice.h"

#include <gtest/gtest.h>

namespace isobit {
namespace {

/// The canonical text of an engine's pairs, checked to read back as itself.
std::string text_of(const EnginePairs& pairs) {
  const auto choice = parse_engine(pairs);
  if (!choice) return "error: " + choice.error().message;
  const std::string text = choice->text();
  const auto again = parse_engine(text);
  EXPECT_TRUE(again) << text;
  EXPECT_EQ(again ? again->text() : "", text);
  EXPECT_EQ(vendor_text(vendor_choice(*choice)), text);
  return text;
}

TEST(VendorChoice, WhatIsFreeHasNoText) {
  EXPECT_EQ(text_of({{"cublas", "default"}}), "cublas");
  EXPECT_EQ(text_of({{"cublas", "-1"}}), "cublas");
  EXPECT_EQ(text_of({{"cublaslt", "heuristic"}, {"index", "0"}}), "cublaslt");
  EXPECT_EQ(text_of({{"math", "default"}, {"cublaslt", "heuristic"}}), "cublaslt");
}

TEST(VendorChoice, OneTextAMeaning) {
  EXPECT_EQ(text_of({{"cublas", "5"}}), "cublas:5");
  EXPECT_EQ(text_of({{"math", "pedantic"}, {"cublas", "default"}}), "cublas:default+math:pedantic");
  EXPECT_EQ(text_of({{"cublaslt", "heuristic"}, {"index", "3"}}), "cublaslt:heuristic+index:3");
  EXPECT_EQ(text_of({{"operands", "fp8"}, {"cublaslt", "heuristic"}}),
            "cublaslt:heuristic+operands:fp8");
  EXPECT_EQ(text_of({{"cublaslt", "heuristic"}, {"operands", "default"}}), "cublaslt");
  EXPECT_NE(text_of({{"cublaslt", "heuristic"}, {"operands", "fp7"}}).find("default or fp8"),
            std::string::npos);
  EXPECT_NE(text_of({{"cublaslt", "heuristic"}, {"operands", "fp8"}, {"math", "pedantic"}})
                .find("math default alone"),
            std::string::npos);
  EXPECT_NE(text_of({{"cublas", "default"}, {"operands", "fp8"}}).find("unknown option"),
            std::string::npos);
  EXPECT_EQ(text_of({{"cublaslt", "heuristic"}, {"algorithm", "66"}}),
            "cublaslt:heuristic+algorithm:66");
  EXPECT_EQ(
      text_of({{"tile", "20"},
               {"cublaslt", "66"},
               {"stages", "4"},
               {"split_k", "1"},
               {"cluster", "2"},
               {"inner", "0"},
               {"swizzle", "1"},
               {"reduction", "2"},
               {"custom", "7"}}),
      "cublaslt:66+cluster:2+custom:7+inner:0+reduction:2+split_k:1+stages:4+swizzle:1+tile:20");
  EXPECT_EQ(text_of({{"cublaslt", "0"}, {"math", "tf32"}}), "cublaslt:0+math:tf32");
}

TEST(VendorChoice, ValuesAreWhatTheTextSays) {
  const VendorChoice exact = vendor_choice(*parse_engine("cublaslt:66+split_k:3+tile:20"));
  EXPECT_TRUE(exact.lt && exact.exact);
  EXPECT_EQ(exact.algorithm, 66);
  for (std::size_t i = 0; i < kLtOptions.size(); ++i) {
    const std::string name = kLtOptions[i].name;
    const bool given = name == "split_k" || name == "tile";
    EXPECT_EQ(exact.options[i].has_value(), given) << name;
    const std::uint32_t wanted = name == "tile" ? 20 : name == "split_k" ? 3 : 0;
    EXPECT_EQ(exact.options[i].value_or(0), wanted) << name;
  }
  const VendorChoice limited =
      vendor_choice(*parse_engine("cublaslt:heuristic+algorithm:21+index:2"));
  EXPECT_FALSE(limited.exact);
  EXPECT_EQ(limited.algorithm, 21);
  EXPECT_EQ(limited.index, 2);
  const VendorChoice free = vendor_choice(*parse_engine("cublas"));
  EXPECT_EQ(free.algorithm, -1);
}

TEST(VendorChoice, ErrorsNameTheOption) {
  EXPECT_EQ(text_of({{"cublas", "24"}}),
            "error: algorithm '24' of engine cublas is neither default nor a whole number from -1 "
            "to 23");
  EXPECT_EQ(text_of({{"cublaslt", "best"}}),
            "error: algorithm 'best' of engine cublaslt is neither heuristic nor a whole number "
            "from 0 to 4095");
  EXPECT_EQ(text_of({{"cublaslt", "66"}, {"split_k", "0"}}),
            "error: engine cublaslt, option split_k: '0' is not a whole number from 1 to 4096");
  EXPECT_EQ(text_of({{"cublaslt", "66"}, {"tile", "20x"}}),
            "error: engine cublaslt, option tile: '20x' is not a whole number from 0 to 65535");
  EXPECT_EQ(text_of({{"cublas", "1"}, {"math", "fast"}}),
            "error: engine cublas, option math: 'fast' is not default, pedantic or tf32");
  EXPECT_EQ(
      text_of({{"cublaslt", "66"}, {"index", "1"}}),
      "error: unknown option \"index\" of engine cublaslt; it goes with {cublaslt: heuristic}");
  EXPECT_EQ(text_of({{"cublaslt", "heuristic"}, {"tile", "1"}}),
            "error: unknown option \"tile\" of engine cublaslt; it goes with {cublaslt: "
            "ALGORITHM}, a number");
  EXPECT_EQ(text_of({{"cublas", "1"}, {"cublas", "2"}}),
            "error: option \"cublas\" of engine cublas is given twice");
}

}  // namespace
}  // namespace isobit
