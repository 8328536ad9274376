// One cell through the protocol: its requests, and every reply held against what was asked. Caller:
// engine.cc.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "runtime/backends/exec/child.h"
#include "runtime/backends/exec/messages.h"
#include "runtime/run/generate.h"

namespace isobit::exec {

/// Why a cell has no result: its status, and whether the process is of use to another.
struct Failure {
  CellStatus status = CellStatus::failed;
  std::string reason;
  bool ends_process = true;
};

/// What a cell's conversation gave besides the rows.
struct Told {
  std::optional<Failure> failure;
  Ran ran;                        // of all requests together
  std::int64_t out_of_order = 0;  // sequences that were sent right after one of a later place
  double record_seconds = 0;      // digests and best entries
};

/// Fills the prompts of `result.trace`, and its status where sequences of one prompt differ.
/// `next_id`: of the next request; it grows, so that a process never sees one twice.
/// REQUIRES: the child has loaded a model of so many tokens, and no request is open.
Told converse(const GenerateRequest& request, const Hello& hello, std::int64_t vocabulary,
              std::int64_t& next_id, Child& child, GenerateResult& result);

}  // namespace isobit::exec
