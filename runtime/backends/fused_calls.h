// Calls of a library's fused attention kernel (numerics/fused.h) that a step's rows make, for every
// device alike. Host only. Callers: tensor_model.cc, cuda/tensor_backend.cc.
#pragma once

#include <string>
#include <vector>

#include "runtime/backend.h"
#include "runtime/base/result.h"
#include "runtime/numerics/fused.h"
#include "runtime/numerics/schedule.h"

namespace isobit {

/// Why a fused kernel cannot compute in a precision, or empty; empty too where none is asked for.
std::string fused_unsupported(const FlashSchedule& attention, const Mode& mode);

/// A kernel's calls of a step, one for the rows of each sequence. Errors say what it cannot.
Result<std::vector<FusedSequence>> fused_calls(const FusedChoice& choice,
                                               const AttentionRows& args);

}  // namespace isobit
