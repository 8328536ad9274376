// What the machine's energy counters say of a stretch of time: RAPL for CPUs, NVML for GPUs.
//
// Always of whole packages or GPUs: whatever else runs on them is in it, and of a GPU's cell the
// host is not. A counter that is not there, may not be read, or did not move in that time (it is
// renewed every 1 to 100 ms) gives "not measured", never zero. Callers: cost.cc, tests.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace isobit {

/// The counters of all CPU packages of this machine (Linux powercap, intel-rapl, which AMD's
/// packages have too). Begins when it is made.
class RaplMeter {
 public:
  /// `folder`: another than the system's in tests.
  explicit RaplMeter(const std::string& folder = "/sys/class/powercap");
  /// Millijoules since the beginning, packages added up; 0: not measured. A counter that began
  /// again from 0 once is followed; twice in one cell (a quarter of an hour at 250 W) it cannot be.
  [[nodiscard]] std::int64_t millijoules() const;

 private:
  struct Package {
    std::string folder;
    std::int64_t range_uj = 0;  // the counter's largest value
    std::int64_t begin_uj = 0;
  };
  std::vector<Package> packages_;
  bool readable_ = true;
};

/// NVIDIA's management library, loaded for the life of the process.
class Nvml {
 public:
  /// The system's, loaded once; nullptr: there is none, or it finds no driver.
  static const Nvml* system();
  /// One by its path, for tests.
  static std::unique_ptr<Nvml> open(const std::string& path);

  /// Millijoules that a GPU ("GPU-uuid") has taken since its driver was loaded; -1: it does not
  /// say.
  [[nodiscard]] std::int64_t energy_mj(const std::string& gpu) const;

 private:
  // nvml.h, 12.x: every call gives 0 (NVML_SUCCESS) or an error; handles are opaque.
  using ByUuid = int(const char* uuid, void** gpu);
  using Energy = int(void* gpu, unsigned long long* millijoules);
  ByUuid* by_uuid_ = nullptr;
  Energy* energy_ = nullptr;
};

/// The counters of some GPUs. Begins when it is made.
class NvmlMeter {
 public:
  /// `nvml` may be null.
  NvmlMeter(const Nvml* nvml, std::vector<std::string> gpus);
  /// Millijoules since the beginning, GPUs added up; 0: not measured.
  [[nodiscard]] std::int64_t millijoules() const;

 private:
  /// -1: some GPU does not say.
  [[nodiscard]] std::int64_t sum() const;

  const Nvml* nvml_;
  std::vector<std::string> gpus_;
  std::int64_t begin_ = -1;
};

}  // namespace isobit
