// What the registry asks of the CUDA engines; compiles without CUDA's headers.
//
// Promise: a machine without a driver or GPU gets a reason in one line, never a crash.
#pragma once

#include <memory>
#include <string>

#include "runtime/backend.h"

namespace invar::cuda {

/// Why there is no reference engine on device cuda here, or empty.
std::string cuda_unsupported(const BackendOptions& options);
Result<std::unique_ptr<Backend>> make_cuda(const BackendOptions& options, const Mode& mode);
/// "ready", or why not, and the GPUs that are there.
EngineStatus cuda_status();

}  // namespace invar::cuda
