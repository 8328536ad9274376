// What a fingerprint says of GPUs and NVIDIA's libraries. Pure but for the files' hashes, so that
// it is tested without a GPU. Callers: probe.cc.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "runtime/backends/cuda/device/device.h"
#include "runtime/backends/cuda/vendor/cublas_library.h"

namespace isobit::cuda {

/// gpu (names), gpu.driver, gpu.clock, gpu.0 … (facts of each), and of each library that is there
/// its version (cublas, cublaslt) and lib.<file name> (SHA-256 of the file).
std::map<std::string, std::string> environment_entries(const std::string& driver,
                                                       const std::vector<GpuInfo>& gpus,
                                                       const VendorFile& cublas,
                                                       const VendorFile& cublaslt);

}  // namespace isobit::cuda
