// The table of lower_table.cc. Private to harness/score.
#pragma once

#include <cstddef>
#include <cstdint>

namespace isobit {

struct LowerRun {
  std::uint32_t first, last;  // code points, both included
  std::uint32_t step;
  std::int32_t delta;
};
inline constexpr std::size_t kLowerRunCount = 180;
/// By first; no two overlap but where they interleave.
extern const LowerRun kLowerRuns[kLowerRunCount];

}  // namespace isobit
