// An asymmetric uniform grid of b bits over the values of one tensor, as task vectors are stored in
// (NUMERICS.md, "Task vectors"; Kim et al. 2025, arXiv 2503.06921, section 3).
//
// step = (max - min) / (2^b - 1), offset z = -round(min / step), code q = clamp(round(x / step) +
// z) to [0, 2^b - 1], value step * (q - z). Quotients and products are fp64, round is to nearest
// even, `step` and the value are rounded to fp32 once. Promise: |x - value(code(x))| <= step (1/2 +
// (2^b - 1) 2^-24) + 2^-24 |value| + 2^-52 |x| for the values that the grid was made of, and
// equality where they all are one number.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <string>

#include "runtime/base/result.h"

namespace isobit {

constexpr int kMostGridBits = 8;
/// Beyond every |min / step| that fp32 values give: 2^24 (2^8 - 1) < 2^32.
constexpr double kLargestGridOffset = 0x1p33;

/// To nearest, ties to even. REQUIRES: |x| < 2^51.
inline double round_to_integer(double x) {
  constexpr double kShift = 0x1.8p52;
  const double shifted = x + kShift;  // no bit below 1 is left
  return shifted - kShift;
}

struct UniformGrid {
  int bits = 1;
  float step = 0;   // 0: every value is `least`
  float least = 0;  // the smallest value

  [[nodiscard]] int codes() const { return 1 << bits; }
  /// z, a whole number. REQUIRES: problem() is empty.
  [[nodiscard]] double offset() const {
    return step == 0 ? 0.0 : -round_to_integer(double(least) / double(step));
  }
  [[nodiscard]] std::uint8_t code(float x) const {
    if (step == 0) return 0;
    const double place = round_to_integer(double(x) / double(step)) + offset();
    return std::uint8_t(std::clamp(place, 0.0, double(codes() - 1)));
  }
  /// REQUIRES: code < codes().
  [[nodiscard]] float value(std::uint8_t code) const {
    return step == 0 ? least : float(double(step) * (double(code) - offset()));
  }
  /// Why no values have such a grid, or empty: what a reader asks of a file's numbers.
  [[nodiscard]] std::string problem() const {
    if (!std::isfinite(step) || !std::isfinite(least)) return "a number of its grid is not finite";
    if (step == 0) return "";
    if (step < std::numeric_limits<float>::min()) return "its step is negative or underflows";
    const double far = std::fabs(double(least) / double(step));
    if (far > kLargestGridOffset) return "its step is too small beside its smallest value";
    const double top = std::max(std::fabs(double(step) * (offset() - codes() + 1)),
                                std::fabs(double(step) * offset()));
    return top > double(std::numeric_limits<float>::max()) ? "its values overflow" : "";
  }
};

/// The grid of some values. Errors, without a place: a value that is not finite, a range that fp32
/// does not hold or whose step is below 2^-126.
inline Result<UniformGrid> uniform_grid(std::span<const float> values, int bits) {
  ISOBIT_CHECK(bits >= 1 && bits <= kMostGridBits && !values.empty());
  float least = values[0], largest = values[0];
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (!std::isfinite(values[i]))
      return Error{"element " + std::to_string(i) + " is not finite", ""};
    least = std::min(least, values[i]);
    largest = std::max(largest, values[i]);
  }
  UniformGrid grid{bits, 0.0F, least};
  if (least == largest) return grid;
  const double step = (double(largest) - double(least)) / double(grid.codes() - 1);
  if (step < double(std::numeric_limits<float>::min())) {
    return Error{"the step underflows: its values are from " + std::to_string(least) + " to " +
                     std::to_string(largest) + ", too near to each other for fp32",
                 ""};
  }
  if (step > double(std::numeric_limits<float>::max())) return Error{"the step overflows fp32", ""};
  grid.step = float(step);
  if (const std::string problem = grid.problem(); !problem.empty()) return Error{problem, ""};
  return grid;
}

}  // namespace isobit
