// All inputs of the special function unit, and of CUDA's functions on it: what the GPU gives
// against the literal text of numerics/special_unit.h and cuda_functions.h, both computed on the
// GPU.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace isobit::cuda_test {

/// The first four are ex2, rcp, rsqrt and lg2.approx.ftz.f32; the others expf, cosf, sinf, logf and
/// x / (1 + expf(-x)).
enum class SpecialFunction { ex2, rcp, rsqrt, lg2, exp, cos, sin, log, silu };

struct SpecialDifference {
  std::uint32_t input, chip, text;  // bits
};

struct SpecialComparison {
  std::int64_t compared = 0, different = 0;
  std::vector<SpecialDifference> differences;  // ascending; all of them, where they are few
  std::string error;                           // of CUDA; empty: it ran
};
constexpr std::int64_t kMostSpecialDifferences = 65536;

/// Over all 2^32 inputs that the text speaks of.
SpecialComparison compare_special(SpecialFunction function);

}  // namespace isobit::cuda_test
