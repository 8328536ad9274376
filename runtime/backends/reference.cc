// Chooses the reference's backend by device and instruction set.
#include "runtime/backends/reference.h"

#include "runtime/backends/cpu/cpu_backend.h"
#if defined(ISOBIT_HAVE_CUDA)
#include "runtime/backends/cuda/engine.h"
#endif

namespace isobit {

Result<EngineChoice> parse_reference(const EnginePairs& pairs) {
  if (pairs.size() > 1 || !pairs.front().second.empty()) {
    return Error{"engine reference has no options", ""};
  }
  return EngineChoice{};
}

std::string reference_unsupported(const BackendOptions& options, const Mode&) {
#if defined(ISOBIT_HAVE_CUDA)
  if (options.device == "cuda") return cuda::cuda_unsupported(options);
#endif
  if (options.device != "cpu") {
    return "device " + options.device + ": this build has no such device";
  }
  if (cpu::kernels_named(options.isa) == nullptr) {
    return "this CPU or build has no " + options.isa;
  }
  return "";
}

Result<std::unique_ptr<Backend>> make_reference(const BackendOptions& options, const Mode& mode) {
#if defined(ISOBIT_HAVE_CUDA)
  if (options.device == "cuda") return cuda::make_cuda(options, mode);
#endif
  return std::unique_ptr<Backend>(std::make_unique<cpu::CpuBackend>(
      mode, *cpu::kernels_named(options.isa), options.threads, options.gemm, options.attention));
}

std::vector<EngineStatus> reference_status() {
  EngineStatus here{"reference", "ready", {}};
  for (const char* isa : {"scalar", "avx2", "avx512", "neon"}) {
    if (cpu::kernels_named(isa) != nullptr) here.variants.emplace_back(isa);
  }
#if defined(ISOBIT_HAVE_CUDA)
  return {here, cuda::cuda_status()};
#else
  return {here, {"reference on cuda", "this build has no CUDA", {}}};
#endif
}

}  // namespace isobit
