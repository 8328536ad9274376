// Patched cells with what a session knows: their donors' requests, prompts and layers.
#pragma once

#include "harness/execute/session.h"

namespace isobit {

/// Gives a request the donor of its cell; nothing for a cell that patches nothing. `teacher`: what
/// both are fed, by prompt, or empty. A prompt that is not there stays -1.
void add_donor(const Scenario& scenario, const Session& session, const Cell& cell,
               const std::vector<std::vector<std::int32_t>>& teacher, GenerateRequest& request);

/// The model and the prompts have what the cells of a matrix put in. Errors, with the place of the
/// value: a layer, a position or a prompt that is not there, prompts of different lengths.
Result<void> check_patches(const Scenario& scenario, const Session& session, const Matrix& matrix);

}  // namespace isobit
