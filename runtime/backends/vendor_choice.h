// How a scenario pins or frees the algorithm of NVIDIA's GEMM libraries: text <-> plain value.
//
// Promise: pure, strict, and one canonical text a meaning; compiles without CUDA. The numbers are
// the library's own ids (cublasLt.h). Callers: the scenario reader, the engines in backends/cuda.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "runtime/base/result.h"

namespace isobit {

/// One attribute of a cublasLt configuration that a scenario may set.
struct LtOption {
  const char* name;
  int attribute;  // cublasLtMatmulAlgoConfigAttributes_t
  int bytes;      // of its value
  std::int64_t most;
};
constexpr std::array<LtOption, 8> kLtOptions = {{{"cluster", 8, 2, 65535},
                                                 {"custom", 5, 4, INT32_MAX},
                                                 {"inner", 7, 2, 65535},
                                                 {"reduction", 3, 4, 7},
                                                 {"split_k", 2, 4, 4096},
                                                 {"stages", 6, 4, 65535},
                                                 {"swizzle", 4, 4, 65535},
                                                 {"tile", 1, 4, 65535}}};

struct VendorChoice {
  enum class Math : std::uint8_t { standard, pedantic, tf32 };
  bool lt = false;     // cublasLt; else cublasGemmEx
  bool exact = false;  // cublasLt: algorithm and options are the configuration, nothing is chosen
  int algorithm = -1;  // the library's id; -1: free. Not exact: the heuristic is limited to it
  int index = 0;       // not exact: which of the heuristic's answers, the best is 0
  std::array<std::optional<std::uint32_t>, kLtOptions.size()> options{};  // exact only
  Math math = Math::standard;
};

/// Options that `engine` knows beside its own value: {"math"}, or cublasLt's, exact or not.
std::vector<std::string> vendor_option_names(const std::string& engine, bool exact);
/// From pairs as a person wrote them, the engine's own first or anywhere: ("cublaslt", "66"),
/// ("tile", "20"). Option names must be known. Errors name the option and its range.
Result<VendorChoice> vendor_choice(const std::string& engine,
                                   const std::vector<std::pair<std::string, std::string>>& pairs);
/// The pairs of a choice, the engine's own first, the rest sorted; none: everything is free.
std::vector<std::pair<std::string, std::string>> vendor_pairs(const std::string& engine,
                                                              const VendorChoice& choice);
/// "66+stages:4+tile:20" of the cell's engine "cublaslt:66+stages:4+tile:20"; "" for a free one.
std::string vendor_text(const VendorChoice& choice);
/// What vendor_text() made.
Result<VendorChoice> parse_vendor_text(const std::string& engine, const std::string& text);

}  // namespace isobit
