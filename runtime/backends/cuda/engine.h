// What the registry asks of the CUDA engines; compiles without CUDA's headers.
//
// Promise: a machine without a driver or GPU gets a reason in one line, never a crash.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "runtime/backend.h"

namespace isobit::cuda {

/// Why there is no reference engine on device cuda here, or empty.
std::string cuda_unsupported(const BackendOptions& options);
Result<std::unique_ptr<Backend>> make_cuda(const BackendOptions& options, const Mode& mode);
/// The same for engines cublas and cublaslt (their algorithm is the core type, vendor_choice.h).
std::string cublas_unsupported(const BackendOptions& options, const Mode& mode);
Result<std::unique_ptr<Backend>> make_cublas(const BackendOptions& options, const Mode& mode);
/// Files of libcublas and libcublasLt as the loader finds them, empty: none or no GPU.
std::string cublas_path();
std::string cublaslt_path();
/// What ranks on GPUs of their own need.
struct RealRanks {
  std::string missing;            // why there is no GPU, in one line, or empty
  std::vector<std::string> gpus;  // "GPU-<uuid>" by rank
  std::string nccl;               // file of libnccl as the loader finds it, empty: none
  int nccl_version = 0;           // 22809 for 2.28.9
  std::string peers;              // pairs of GPUs that read each other's memory: "0-1 0-2"
};
RealRanks real_ranks();
/// "ready", or why not, and the GPUs that are there.
EngineStatus cuda_status();
/// The same of engine cublas or cublaslt, with its library.
EngineStatus vendor_status_line(const std::string& engine);
/// Entries for the environment's fingerprint: gpu, gpu.driver, gpu.clock, gpu.0 …, cublas and
/// cublaslt (versions), lib.libcublas… (SHA-256 of the files); empty without a GPU.
std::map<std::string, std::string> cuda_environment();

}  // namespace isobit::cuda
