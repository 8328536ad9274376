// How much disk a cell's rows by value take, before it runs.
#pragma once

#include <cstdint>

#include "harness/execute/session.h"

namespace isobit {

/// Bytes of all rows that a cell may give at most: of logits, and with `inner` those that
/// `observe: {values: …}` names.
std::int64_t spill_bytes(const Scenario& scenario, const Session& session, const Cell& cell,
                         bool inner);

}  // namespace isobit
