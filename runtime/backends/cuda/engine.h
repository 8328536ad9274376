// What the registry asks of the CUDA engines; compiles without CUDA's headers.
//
// Promise: a machine without a driver or GPU gets a reason in one line, never a crash.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "runtime/backends/real_ranks.h"
#include "runtime/backends/registry.h"
#include "runtime/numerics/tensorcore.h"

namespace isobit::cuda {

/// Why there is no reference engine on device cuda here, or empty.
std::string cuda_unsupported(const BackendOptions& options);
Result<std::unique_ptr<Backend>> make_cuda(const BackendOptions& options, const Mode& mode);
/// The same for engines cublas and cublaslt.
std::string cublas_unsupported(const BackendOptions& options, const Mode& mode);
Result<std::unique_ptr<Backend>> make_cublas(const BackendOptions& options, const Mode& mode);
/// Which kernel a tensor core's products take. `best`: mma.sync where this GPU is of the modelled
/// kind and the operands have 16 bits, else the literal text. The others are for tests and
/// benchmarks; mma_rows and mma_tiles are refused where mma.sync would have other bits.
enum class TensorKernel { best, literal, mma_rows, mma_tiles };
/// Why there are no products of this chip's tensor core in this precision here, or empty.
std::string tensor_unsupported(const BackendOptions& options, const Mode& mode, TensorCore chip);
/// describe().kernels names what ran: "literal", or "mma.sync m16n8k16" and how it was dealt out.
Result<std::unique_ptr<Backend>> make_tensor(const BackendOptions& options, const Mode& mode,
                                             TensorCore chip,
                                             TensorKernel kernel = TensorKernel::best);
/// Files of libcublas and libcublasLt as the loader finds them, empty: none or no GPU.
std::string cublas_path();
std::string cublaslt_path();
/// What ranks on GPUs of their own find here.
RealRanks real_ranks();
/// "ready", or why not, and the GPUs that are there.
EngineStatus cuda_status();
/// The same of engine cublas or cublaslt, with its library.
EngineStatus vendor_status_line(const std::string& engine);
/// Entries for the environment's fingerprint: gpu, gpu.driver, gpu.clock, gpu.0 …, cublas and
/// cublaslt (versions), lib.libcublas… (SHA-256 of the files); empty without a GPU.
std::map<std::string, std::string> cuda_environment();
/// Most bytes of device memory that this process's backends held at once, on all GPUs together,
/// since the last call with `restart`. Not in it: the context, libraries' own memory.
std::int64_t most_device_memory(bool restart);
/// "NVIDIA H200": the GPU that a cell would run on; empty without one.
std::string gpu_name(const BackendOptions& options);

}  // namespace isobit::cuda
