// Stands in for libnvidia-ml.so.1: two GPUs, whose counters energy_test.cc moves.
//
// The GPU named "GPU-mute" does not know its energy (NVML_ERROR_NOT_SUPPORTED, 3), as a slice of a
// GPU does not; any other name is no GPU (NVML_ERROR_NOT_FOUND, 6).
#include <cstring>

namespace {

unsigned long long millijoules[2] = {5'000'000, 7'000'000};
int mute = 0;  // its address is the handle

}  // namespace

extern "C" {

int nvmlInit_v2() {
  return 0;
}

int nvmlDeviceGetHandleByUUID(const char* uuid, void** gpu) {
  if (std::strcmp(uuid, "GPU-first") == 0) return *gpu = &millijoules[0], 0;
  if (std::strcmp(uuid, "GPU-second") == 0) return *gpu = &millijoules[1], 0;
  if (std::strcmp(uuid, "GPU-mute") == 0) return *gpu = &mute, 0;
  return 6;
}

int nvmlDeviceGetTotalEnergyConsumption(void* gpu, unsigned long long* energy) {
  if (gpu == &mute) return 3;
  *energy = *static_cast<unsigned long long*>(gpu);
  return 0;
}

/// The tests' own: lets a GPU take energy.
void fake_nvml_take(int gpu, unsigned long long mj) {
  millijoules[gpu] += mj;
}
}
