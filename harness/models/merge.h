// Opens a merged model: its base, its tasks, their store, the sum (harness/merged.h, task_store.h).
//
// For harness/models, `isobit model store` and tests.
#pragma once

#include <string>

#include "harness/merged.h"
#include "runtime/checkpoint/weights.h"

namespace isobit::models {

/// The base with every tensor that changes as F32. `folder` is the scenario's, as in open_model().
/// A task is a model's word, a .safetensors file with the base's tensors and no others, or
/// FILE.tasks (all its tasks in their order) or FILE.tasks:NAME (one of them), which is a store
/// already. `metadata` has merged.store, merged.tasks and, of a store, merged.bits_per_value and
/// merged.bits_per_value_with_grids. Errors: a task that is not of the base (another shape, other
/// tensors, another content digest), a store of a store, values that no grid or fp32 holds, a scale
/// by which no weight changes.
Result<LoadedModel> open_merged(const MergedModel& merged, const std::string& folder);

/// Hex SHA-256 over the base's digest (model_digest()), the scale's bits, the store, and each
/// task's digest in order; without tasks the base's own.
Result<std::string> merged_digest(const MergedModel& merged, const std::string& folder);

/// The bytes of a file of task vectors (task_file.h) of the model's tasks; each is named as its
/// folder or file without extension. REQUIRES: the store is tvq or rtvq.
Result<std::string> pack_tasks(const MergedModel& merged, const std::string& folder);

}  // namespace isobit::models
