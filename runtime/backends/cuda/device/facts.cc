// Facts in words: the state of the engines on GPUs, and entries of the fingerprint (facts.h).

#include "runtime/backends/cuda/device/facts.h"

#include "runtime/backends/cuda/engine.h"

namespace isobit::cuda {

std::map<std::string, std::string> environment_entries(const std::string& driver,
                                                       const std::vector<GpuInfo>& gpus,
                                                       const VendorFile& cublas,
                                                       const VendorFile& cublaslt) {
  std::map<std::string, std::string> out{{"gpu.driver", driver}};
  for (const GpuInfo& gpu : gpus) {
    out["gpu"] += (gpu.index == 0 ? "" : "; ") + gpu.name;
    out["gpu.clock"] += (gpu.index == 0 ? "" : "; ") + gpu.clock;
    out["gpu." + std::to_string(gpu.index)] =
        gpu.name + ", GPU-" + gpu.uuid + ", sm_" + std::to_string(gpu.capability) + ", " +
        std::to_string(gpu.multiprocessors) + " SMs, " + gpu.facts;
  }
  const auto library = [&](const char* name, const VendorFile& file) {
    if (file.path.empty()) return;
    out[name] = file.version;
    out["lib." + file.path.substr(file.path.rfind('/') + 1)] = vendor_sha256(file.path);
  };
  library("cublas", cublas);
  library("cublaslt", cublaslt);
  return out;
}

EngineStatus cuda_status() {
  EngineStatus status{"reference on cuda", "ready", {}};
  const auto gpus = all_gpus();
  if (!gpus) {
    status.state = gpus.error().text();
    return status;
  }
  for (const GpuInfo& gpu : *gpus) {
    if (const auto usable = gpu_of_rank(gpu.index); !usable) status.state = usable.error().text();
    status.variants.push_back(gpu.name + " sm_" + std::to_string(gpu.capability));
  }
  return status;
}

EngineStatus vendor_status_line(const std::string& engine) {
  BackendOptions options;
  options.engine.name = engine;
  options.device = "cuda";
  const std::string why = cublas_unsupported(options, mode_of(Precision::bf16));
  EngineStatus status{engine, why.empty() ? "ready" : why, {}};
  const std::string path = engine == "cublas" ? cublas_path() : cublaslt_path();
  if (!path.empty()) status.variants.push_back(path.substr(path.rfind('/') + 1));
  return status;
}

}  // namespace isobit::cuda
