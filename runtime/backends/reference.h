// The reference engine's row of the table (registry.h, EngineEntry): family F on CPUs and GPUs.
#pragma once

#include "runtime/backends/registry.h"

namespace isobit {

Result<EngineChoice> parse_reference(const EnginePairs& pairs);
std::string reference_unsupported(const BackendOptions& options, const Mode& mode);
Result<std::unique_ptr<Backend>> make_reference(const BackendOptions& options, const Mode& mode);
std::vector<EngineStatus> reference_status();

}  // namespace isobit
