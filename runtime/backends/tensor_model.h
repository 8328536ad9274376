// Family H as an engine: the reference with its products as a tensor core adds them.
//
// Each of a matrix's segments is one chain of the chip's groups over ascending columns, and the
// segments meet in the reference's tree, so that batch, cache and ranks change nothing. Attention
// is a library's fused kernel where one is asked for (fused_calls.h), whose bits depend on the rows
// of a step; else it is family F, as norms and all the rest are. Callers: registry.cc.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "runtime/backends/registry.h"

namespace isobit {

/// Functions of its row in the table (registry.h, EngineEntry).
Result<EngineChoice> parse_tensor_model(const EnginePairs& pairs);
std::string tensor_model_unsupported(const BackendOptions& options, const Mode& mode);
Result<std::unique_ptr<Backend>> make_tensor_model(const BackendOptions& options, const Mode& mode);
std::vector<EngineStatus> tensor_model_status();

}  // namespace isobit
