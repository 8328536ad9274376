// The checkers of ifeval.h, one a type, of a reply that is not empty. Private to harness/score.
#pragma once

#include "harness/score/code_points.h"
#include "harness/score/line.h"

namespace isobit::ifeval {

using Check = bool (*)(const Instruction&, const Text32& reply);

/// The checker of a type; nullptr for one that is not judged.
Check check_of(const std::string& type);

}  // namespace isobit::ifeval
