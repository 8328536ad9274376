// How a scenario pins or frees the algorithm of NVIDIA's GEMM libraries: text <-> plain value.
//
// Promise: pure, strict, and one canonical text a meaning; compiles without CUDA. The numbers are
// the library's own ids (cublasLt.h). Callers: registry.cc, the engines in backends/cuda.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include "runtime/backends/registry.h"

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
  bool fp8 = false;  // cublasLt: 8-bit operands go to it as they are; else as bf16
};

/// What a choice is as an engine's settings.
struct VendorSettings : EngineSettings {
  explicit VendorSettings(const VendorChoice& chosen) : choice(chosen) {}
  VendorChoice choice;
};
/// Of a cell's engine; everything free when it was never parsed.
VendorChoice vendor_choice(const EngineChoice& engine);

/// "cublaslt:66+stages:4+tile:20", "cublas": as EngineChoice::text() writes it.
std::string vendor_text(const VendorChoice& choice);

/// Rows of the table (registry.h, EngineEntry::parse). Errors name the option and its range.
Result<EngineChoice> parse_cublas(const EnginePairs& pairs);
Result<EngineChoice> parse_cublaslt(const EnginePairs& pairs);

}  // namespace isobit
