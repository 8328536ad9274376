// A library that says a version of the plug-in interface, and has no entry.
#include <cstdint>

#include "runtime/backends/plugin/plugin_abi.h"

const std::uint32_t isobit_plugin_abi = ISOBIT_STRANGE_ABI;
