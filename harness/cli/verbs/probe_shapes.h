// Which products a probe is about: --model, --shape, --shapes. For harness/cli only.
#pragma once

#include <cstdint>
#include <vector>

#include "harness/cli/cli.h"

namespace isobit::commands {

struct Shape {
  std::int64_t outputs = 0, inputs = 0;
  std::vector<std::int64_t> rows;  // these alone; empty: as the probe likes
};
/// Each product once, with the rows of all that name it. At least one.
Result<std::vector<Shape>> shapes_of(const Arguments& arguments);

}  // namespace isobit::commands
