// A plugin's shared library: found, loaded once in a process, and asked for its version.
// Callers: this folder.
#pragma once

#include <string>

#include "runtime/backends/plugin/plugin_abi.h"
#include "runtime/base/result.h"

namespace isobit {

struct PluginLibrary {
  std::string path, sha256_hex;
  int32_t (*open)(const isobit_host* host, isobit_plugin* plugin) = nullptr;
};

/// Loads the file and keeps it until the process ends. Errors have the path as their place.
Result<const PluginLibrary*> load_plugin(const std::string& path);

}  // namespace isobit
