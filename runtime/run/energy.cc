// Linux's powercap folder, and NVML by its symbols: neither is needed to build or to run.
#include "runtime/run/energy.h"

#include <dlfcn.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <utility>

namespace isobit {
namespace {

/// A file that holds one number; -1: it does not, or may not be read.
std::int64_t number_in(const std::string& path) {
  std::ifstream file(path);
  std::int64_t number = -1;
  return file >> number ? number : -1;
}

std::string first_line_of(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

template <class F>
F* symbol(void* library, const char* name) {
  return reinterpret_cast<F*>(::dlsym(library, name));
}

}  // namespace

/// Packages alone: their parts ("core", "dram") are zones of their own below them, and "psys" is
/// the whole machine once more.
RaplMeter::RaplMeter(const std::string& folder) {
  std::error_code problem;
  for (const auto& entry : std::filesystem::directory_iterator(folder, problem)) {
    const std::string zone = entry.path().filename().string();
    if (!zone.starts_with("intel-rapl:")) continue;
    Package package;
    package.folder = entry.path().string();
    if (!first_line_of(package.folder + "/name").starts_with("package-")) continue;
    package.range_uj = number_in(package.folder + "/max_energy_range_uj");
    package.begin_uj = number_in(package.folder + "/energy_uj");
    readable_ = readable_ && package.range_uj > 0 && package.begin_uj >= 0;
    packages_.push_back(std::move(package));
  }
}

std::int64_t RaplMeter::millijoules() const {
  std::int64_t sum_uj = 0;
  for (const Package& package : packages_) {
    const std::int64_t now = number_in(package.folder + "/energy_uj");
    if (!readable_ || now < 0) return 0;
    // The counter's values are 0 to its range, so that a full turn is one more.
    sum_uj += now - package.begin_uj + (now < package.begin_uj ? package.range_uj + 1 : 0);
  }
  return (sum_uj + 500) / 1000;
}

const Nvml* Nvml::system() {
  static const std::unique_ptr<Nvml> once = open("libnvidia-ml.so.1");
  return once.get();
}

std::unique_ptr<Nvml> Nvml::open(const std::string& path) {
  void* const library = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) return nullptr;
  auto* const init = symbol<int()>(library, "nvmlInit_v2");
  if (init == nullptr || init() != 0) return nullptr;
  auto nvml = std::make_unique<Nvml>();
  nvml->by_uuid_ = symbol<ByUuid>(library, "nvmlDeviceGetHandleByUUID");
  nvml->energy_ = symbol<Energy>(library, "nvmlDeviceGetTotalEnergyConsumption");
  return nvml->by_uuid_ == nullptr || nvml->energy_ == nullptr ? nullptr : std::move(nvml);
}

std::int64_t Nvml::energy_mj(const std::string& gpu) const {
  void* handle = nullptr;
  unsigned long long millijoules = 0;
  if (by_uuid_(gpu.c_str(), &handle) != 0 || energy_(handle, &millijoules) != 0) return -1;
  return std::int64_t(millijoules);
}

NvmlMeter::NvmlMeter(const Nvml* nvml, std::vector<std::string> gpus)
    : nvml_(nvml), gpus_(std::move(gpus)), begin_(sum()) {}

std::int64_t NvmlMeter::millijoules() const {
  const std::int64_t now = sum();
  return begin_ < 0 || now < begin_ ? 0 : now - begin_;
}

std::int64_t NvmlMeter::sum() const {
  if (nvml_ == nullptr || gpus_.empty()) return -1;
  std::int64_t all = 0;
  for (const std::string& gpu : gpus_) {
    const std::int64_t one = nvml_->energy_mj(gpu);
    if (one < 0) return -1;
    all += one;
  }
  return all;
}

}  // namespace isobit
