#include "runtime/run/cost.h"

#include <algorithm>

#include "runtime/run/ranks.h"
#if defined(ISOBIT_HAVE_CUDA)
#include "runtime/backends/cuda/engine.h"
#endif

namespace isobit {
namespace {

#if defined(ISOBIT_HAVE_CUDA)
using cuda::most_device_memory;
#else
std::int64_t most_device_memory(bool) {
  return 0;
}
#endif

}  // namespace

CostMeter::CostMeter(const GenerateRequest& request) {
  const bool on_cpu = request.backend.device == "cpu";
  if (on_cpu) {
    memory_.emplace();
  } else {
    static_cast<void>(most_device_memory(true));
  }
  if (request.world != nullptr) return;
  if (on_cpu) {
    packages_.emplace();
  } else {
    gpus_.emplace(Nvml::system(),
                  gpus_of(request.backend, std::max(request.ranks, request.replicas)));
  }
}

void CostMeter::read(Observed& out) const {
  out.energy_mj = packages_ ? packages_->millijoules() : gpus_ ? gpus_->millijoules() : 0;
  out.energy_source = out.energy_mj == 0 ? "" : packages_ ? "rapl" : "nvml";
  out.peak_bytes = memory_ ? memory_->bytes() : most_device_memory(false);
}

}  // namespace isobit
