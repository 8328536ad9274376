// Which GPUs are there: a child process asks CUDA and NVML once and answers through a pipe.
//
// Promise: the asking process stays free of CUDA, so that workers forked from it can begin with it.
// Callers: device.h's.

#include <dlfcn.h>

#include <cstdio>
#include <nlohmann/json.hpp>

#include "runtime/backends/cuda/device/device.h"
#include "runtime/backends/cuda/device/facts.h"
#include "runtime/backends/cuda/engine.h"
#include "runtime/backends/cuda/vendor/cublas_library.h"
#include "runtime/base/process.h"

namespace isobit::cuda {
namespace {

using Json = nlohmann::json;

#if !defined(ISOBIT_CUDA_LEAST)
#define ISOBIT_CUDA_LEAST 80
#endif
constexpr int kLeast = ISOBIT_CUDA_LEAST;  // the oldest architecture with code in this program

struct Found {
  std::string error;   // why there is none, in one line
  bool begun = false;  // the asked process had begun with CUDA before it forked
  std::string driver;
  VendorFile cublas, cublaslt;
  std::string nccl;  // its file
  int nccl_version = 0;
  std::string peers;  // pairs of GPUs that read each other's memory: "0-1 0-2"
  std::vector<GpuInfo> gpus;
};

/// The few functions of NVML that are used, found at run time; every answer is optional.
class Nvml {
 public:
  Nvml() : library_(dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL)) {
    const auto init = find<int()>("nvmlInit_v2");
    ready_ = init != nullptr && init() == 0;
  }
  Nvml(const Nvml&) = delete;
  Nvml& operator=(const Nvml&) = delete;
  ~Nvml() {
    if (library_ != nullptr) dlclose(library_);
  }

  std::string driver() const {
    char text[96] = "";
    const auto ask = find<int(char*, unsigned)>("nvmlSystemGetDriverVersion");
    return ready_ && ask != nullptr && ask(text, sizeof text) == 0 ? text : "unknown";
  }

  /// What the management library says of a GPU, into its facts and its clock.
  void describe(GpuInfo& info) const {
    const auto by_uuid = find<int(const char*, void**)>("nvmlDeviceGetHandleByUUID");
    const auto mig = find<int(void*, unsigned*, unsigned*)>("nvmlDeviceGetMigMode");
    const auto clock = find<int(void*, int, unsigned*)>("nvmlDeviceGetClockInfo");
    void* gpu = nullptr;
    const std::string name = "GPU-" + info.uuid;
    if (!ready_ || by_uuid == nullptr || by_uuid(name.c_str(), &gpu) != 0) return;
    unsigned now = 0, pending = 0;
    if (mig != nullptr && mig(gpu, &now, &pending) == 0) {
      info.facts += now != 0 ? ", MIG on" : ", MIG off";
    }
    const auto most = find<int(void*, int, unsigned*)>("nvmlDeviceGetMaxClockInfo");
    constexpr int kSmClock = 1, kMemoryClock = 2;
    if (clock != nullptr && clock(gpu, kSmClock, &now) == 0) {
      info.clock = std::to_string(now) + " MHz";
      if (most != nullptr && most(gpu, kSmClock, &now) == 0) {
        info.clock += " of " + std::to_string(now);
      }
      if (clock(gpu, kMemoryClock, &now) == 0) info.clock += ", memory " + std::to_string(now);
    }
  }

 private:
  template <class F>
  F* find(const char* name) const {
    return library_ == nullptr ? nullptr : reinterpret_cast<F*>(dlsym(library_, name));
  }
  void* library_;
  bool ready_ = false;
};

std::string version_text(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

std::string reason_of(cudaError_t error) {
  if (error == cudaErrorInsufficientDriver) {
    return "device cuda: no NVIDIA driver, or one older than this build's CUDA";
  }
  if (error == cudaSuccess || error == cudaErrorNoDevice) {
    return "device cuda: this machine has no NVIDIA GPU";
  }
  return std::string("device cuda: ") + cudaGetErrorString(error);
}

GpuInfo info_of(int index, const cudaDeviceProp& properties, const Nvml& nvml) {
  GpuInfo info;
  info.index = index;
  info.capability = properties.major * 10 + properties.minor;
  info.multiprocessors = properties.multiProcessorCount;
  info.shared_limit = properties.sharedMemPerBlockOptin;
  info.name = properties.name;
  for (int i = 0; i < 16; ++i) {
    char hex[4];
    std::snprintf(hex, sizeof(hex), "%02x", unsigned(std::uint8_t(properties.uuid.bytes[i])));
    if (i == 4 || i == 6 || i == 8 || i == 10) info.uuid += '-';
    info.uuid += hex;
  }
  info.facts = std::to_string(properties.totalGlobalMem >> 20) + " MiB, ECC " +
               (properties.ECCEnabled != 0 ? "on" : "off");
  nvml.describe(info);
  return info;
}

void find_nccl(Found& found) {
  void* library = dlopen("libnccl.so.2", RTLD_LAZY | RTLD_LOCAL);
  if (library == nullptr) return;
  const auto version = reinterpret_cast<int (*)(int*)>(dlsym(library, "ncclGetVersion"));
  Dl_info info{};
  if (version == nullptr || dladdr(reinterpret_cast<void*>(version), &info) == 0) return;
  if (version(&found.nccl_version) == 0) found.nccl = info.dli_fname;
}

std::string find_peers(int count) {
  std::string pairs;
  for (int a = 0; a < count; ++a) {
    for (int b = a + 1; b < count; ++b) {
      int yes = 0;
      if (cudaDeviceCanAccessPeer(&yes, a, b) != cudaSuccess || yes == 0) continue;
      pairs += (pairs.empty() ? "" : " ") + std::to_string(a) + "-" + std::to_string(b);
    }
  }
  return pairs;
}

/// Asks CUDA in this process.
Found look() {
  Found found;
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error != cudaSuccess || count <= 0) {
    cudaGetLastError();
    found.begun = error == cudaErrorInitializationError;
    found.error = reason_of(error);
    return found;
  }
  const Nvml nvml;
  int driver = 0, runtime = 0;
  cudaDriverGetVersion(&driver);
  cudaRuntimeGetVersion(&runtime);
  found.driver = "driver " + nvml.driver() + ", CUDA " + version_text(driver) + " (driver), " +
                 version_text(runtime) + " (this build)";
  found.cublas = find_cublas_file();
  found.cublaslt = find_cublaslt_file();
  find_nccl(found);
  found.peers = find_peers(count);
  for (int i = 0; i < count; ++i) {
    cudaDeviceProp properties{};
    if (const cudaError_t bad = cudaGetDeviceProperties(&properties, i); bad != cudaSuccess) {
      found.error = reason_of(bad);
      return found;
    }
    found.gpus.push_back(info_of(i, properties, nvml));
    found.gpus.back().count = count;
  }
  return found;
}

std::string to_text(const Found& found) {
  Json gpus = Json::array();
  for (const GpuInfo& g : found.gpus) {
    gpus.push_back({{"index", g.index},
                    {"count", g.count},
                    {"capability", g.capability},
                    {"multiprocessors", g.multiprocessors},
                    {"shared", g.shared_limit},
                    {"name", g.name},
                    {"uuid", g.uuid},
                    {"facts", g.facts},
                    {"clock", g.clock}});
  }
  const Json out{{"error", found.error},
                 {"begun", found.begun},
                 {"driver", found.driver},
                 {"cublas", {found.cublas.path, found.cublas.version}},
                 {"cublaslt", {found.cublaslt.path, found.cublaslt.version}},
                 {"nccl", found.nccl},
                 {"nccl_version", found.nccl_version},
                 {"peers", found.peers},
                 {"gpus", gpus}};
  return out.dump(-1, ' ', true, Json::error_handler_t::replace);
}

VendorFile file_from(const Json& json, const char* name) {
  const auto parts = json.value(name, std::vector<std::string>{});
  return parts.size() == 2 ? VendorFile{parts[0], parts[1]} : VendorFile{};
}

Found from_text(const std::string& text) {
  Found found;
  found.error = "device cuda: the process that asked the driver died";
  const Json json = Json::parse(text, nullptr, false);
  if (!json.is_object()) return found;
  found.error = json.value("error", "");
  found.begun = json.value("begun", false);
  found.driver = json.value("driver", "");
  found.cublas = file_from(json, "cublas");
  found.cublaslt = file_from(json, "cublaslt");
  found.nccl = json.value("nccl", "");
  found.nccl_version = json.value("nccl_version", 0);
  found.peers = json.value("peers", "");
  for (const Json& g : json["gpus"]) {
    GpuInfo info;
    info.index = g.value("index", 0);
    info.count = g.value("count", 0);
    info.capability = g.value("capability", 0);
    info.multiprocessors = g.value("multiprocessors", 0);
    info.shared_limit = g.value("shared", std::size_t(0));
    info.name = g.value("name", "");
    info.uuid = g.value("uuid", "");
    info.facts = g.value("facts", "");
    info.clock = g.value("clock", "");
    found.gpus.push_back(std::move(info));
  }
  return found;
}

const Found& found() {
  static const Found once = [] {
    constexpr int kMostSeconds = 120;  // a driver that starts eight GPUs takes its time
    const auto told =
        ask_in_child([] { return Result<std::string>(to_text(look())); }, kMostSeconds);
    Found answer = from_text(told ? *told : "");
    return answer.begun ? look() : answer;
  }();
  return once;
}

}  // namespace

Result<std::vector<GpuInfo>> all_gpus() {
  if (!found().error.empty()) return Error{found().error, ""};
  return found().gpus;
}

std::string driver_facts() {
  return found().driver;
}

std::string cublas_path() {
  return found().cublas.path;
}

std::string cublaslt_path() {
  return found().cublaslt.path;
}

std::map<std::string, std::string> cuda_environment() {
  const Found& all = found();
  if (!all.error.empty()) return {};
  return environment_entries(all.driver, all.gpus, all.cublas, all.cublaslt);
}

std::string gpu_name(const BackendOptions& options) {
  const auto gpu = gpu_of_rank(options.rank);
  return gpu ? gpu->name : "";
}

RealRanks real_ranks() {
  RealRanks out;
  out.missing = found().error;
  out.nccl = found().nccl;
  out.nccl_version = found().nccl_version;
  out.peers = found().peers;
  for (const GpuInfo& gpu : found().gpus) {
    if (gpu.capability < kLeast) continue;
    out.gpus.push_back("GPU-" + gpu.uuid);
  }
  // Rank r gets GPU r: one that is too old in between would break the order.
  if (out.gpus.size() != found().gpus.size()) out.gpus.clear();
  return out;
}

Result<GpuInfo> gpu_of_rank(int rank) {
  if (!found().error.empty()) return Error{found().error, ""};
  const GpuInfo& info = found().gpus[std::size_t(rank) % found().gpus.size()];
  if (info.capability < kLeast) {
    return Error{"device cuda: " + info.name + " is sm_" + std::to_string(info.capability) +
                     ", this build has code for sm_" + std::to_string(kLeast) +
                     " and later (at least sm_80; see the preset release-gpu)",
                 ""};
  }
  return info;
}

}  // namespace isobit::cuda
