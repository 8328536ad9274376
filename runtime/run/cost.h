// What a cell takes while it computes: memory and energy, as the machine tells.
//
// Diagnostics: never part of a recipe, a digest or a verdict, and different at every execution.
// They cover the same stretch of time as CellTrace::seconds. Caller: generate.cc.
#pragma once

#include <optional>

#include "runtime/base/peak_memory.h"
#include "runtime/run/energy.h"
#include "runtime/run/generate.h"

namespace isobit {

/// Begins when it is made. Memory is, of a cell on the CPU, what this process held resident at
/// most: the program, the checkpoint's mapped pages that were read and weights that it keeps for
/// other cells are in it (`--isolate`: a process a cell). Of a cell on GPUs it is the device memory
/// that this process's backends held at most, all GPUs together. Energy is not measured of a cell
/// over several processes (mpirun): each would count the packages of its host again.
class CostMeter {
 public:
  explicit CostMeter(const GenerateRequest& request);
  /// Ends: writes peak_bytes, energy_mj and energy_source.
  void read(Observed& out) const;

 private:
  std::optional<PeakMemory> memory_;  // of a cell on the CPU, as the next
  std::optional<RaplMeter> packages_;
  std::optional<NvmlMeter> gpus_;
};

}  // namespace isobit
