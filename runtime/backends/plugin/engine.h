// Somebody's kernels as an engine: the reference's backend, on a CPU or a GPU, with the operations
// replaced that a shared library has (plugin_abi.h).
//
// Promise: a replaced operation is really used, and every call is guarded: what a plugin breaks is
// one line of the cell that called it. Callers: registry.cc.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "runtime/backends/registry.h"

namespace isobit {

/// Functions of its row in the table (registry.h, EngineEntry).
Result<EngineChoice> parse_plugin(const EnginePairs& pairs);
/// Does not load the plugin.
std::string plugin_unsupported(const BackendOptions& options, const Mode& mode);
/// Error: no file, no library, no plugin, another version. Loads it in a child process.
Result<void> check_plugin(const EngineChoice& choice);
Result<std::unique_ptr<Backend>> make_plugin(const BackendOptions& options, const Mode& mode);
/// Its file; none without one.
std::vector<std::string> plugin_libraries(const EngineChoice& choice);
std::vector<EngineStatus> plugin_status();

}  // namespace isobit
