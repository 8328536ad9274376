// A weight matrix of engine plugin. Callers: this folder.
#pragma once

#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "runtime/backends/plugin/plugin_abi.h"
#include "runtime/device_memory.h"

namespace isobit {

class PluginMatrix final : public WeightMatrix {
 public:
  /// The reference's own: whole where it multiplies, else its scales alone.
  std::shared_ptr<WeightMatrix> inner;
  std::string name;
  Format input = Format::f32;  // of the activations that enter the product

  // Where the plugin multiplies.
  std::vector<std::int64_t> bounds;
  isobit_rows w{};
  double largest = 0;  // magnitude of a weight; infinite where one is not finite

  /// Memory that outlives the backend that loaded it: the host's own, or the device's.
  struct Free {
    void operator()(void* memory) const { std::free(memory); }
  };
  std::unique_ptr<void, Free> host;
  DeviceMemory device;
};

}  // namespace isobit
