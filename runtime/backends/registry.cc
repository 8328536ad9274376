// Names -> backends. The only place that knows every engine; no silent fallback: what is asked for
// runs, or the answer says why not.

#include "runtime/backends/cpu/cpu_backend.h"
#include "runtime/backends/openblas.h"
#if defined(ISOBIT_HAVE_CUDA)
#include "runtime/backends/cuda/engine.h"
#endif

namespace isobit {
namespace {

/// The table for an isa name, or null when this machine or build has none.
const cpu::Kernels* kernels_for(const std::string& isa) {
  if (isa == "scalar") return &cpu::scalar_kernels();
  if (isa == "avx2") return cpu::avx2_kernels();
  if (isa == "avx512") return cpu::avx512_kernels();
  if (isa == "neon") return cpu::neon_kernels();
  if (isa != "auto") return nullptr;
  if (const cpu::Kernels* best = cpu::avx512_kernels()) return best;
  if (const cpu::Kernels* next = cpu::avx2_kernels()) return next;
  if (const cpu::Kernels* arm = cpu::neon_kernels()) return arm;
  return &cpu::scalar_kernels();
}

}  // namespace

std::string unsupported_reason(const BackendOptions& options, [[maybe_unused]] const Mode& mode) {
#if defined(ISOBIT_HAVE_CUDA)
  if (options.device == "cuda" && options.engine == "reference") {
    return cuda::cuda_unsupported(options);
  }
  if (options.engine == "cublas" || options.engine == "cublaslt") {
    return cuda::cublas_unsupported(options, mode);
  }
#endif
  if (options.device != "cpu")
    return "device " + options.device + ": this build has no such device";
  if (options.engine == "openblas") {
    if (options.isa != "auto") return "engine openblas chooses its own instruction set";
    return openblas_unsupported(options.core_type);
  }
  if (options.engine != "reference") return "this build has no engine " + options.engine;
  if (kernels_for(options.isa) == nullptr) return "this CPU or build has no " + options.isa;
  return "";
}

std::vector<std::string> engine_libraries(const std::string& engine) {
  std::vector<std::string> files;
#if defined(ISOBIT_HAVE_CUDA)
  if (engine == "cublas") files.push_back(cuda::cublas_path());
  // cuBLAS computes with kernels of cublasLt too.
  if (engine == "cublas" || engine == "cublaslt") files.push_back(cuda::cublaslt_path());
#endif
  if (engine == "openblas") files.push_back(openblas_path());
  std::erase(files, std::string());
  return files;
}

Result<std::unique_ptr<Backend>> make_backend(const BackendOptions& options, const Mode& mode) {
  if (const std::string why = unsupported_reason(options, mode); !why.empty()) {
    return Error{why, ""};
  }
#if defined(ISOBIT_HAVE_CUDA)
  if (options.engine == "cublas" || options.engine == "cublaslt") {
    return cuda::make_cublas(options, mode);
  }
  if (options.device == "cuda") return cuda::make_cuda(options, mode);
#endif
  if (options.engine == "openblas") return make_openblas(options, mode);
  return std::unique_ptr<Backend>(
      std::make_unique<cpu::CpuBackend>(mode, *kernels_for(options.isa), options.threads));
}

std::vector<EngineStatus> engine_status() {
  std::vector<EngineStatus> out;
  EngineStatus reference{"reference", "ready", {"scalar"}};
  if (cpu::avx2_kernels() != nullptr) reference.variants.push_back("avx2");
  if (cpu::avx512_kernels() != nullptr) reference.variants.push_back("avx512");
  if (cpu::neon_kernels() != nullptr) reference.variants.push_back("neon");
  out.push_back(reference);
  const std::string why = openblas_unsupported("");
  EngineStatus openblas{"openblas", why.empty() ? "ready" : why, {}};
  for (const OpenBlasCore& core : openblas_cores()) {
    if (core.missing.empty()) openblas.variants.push_back(core.name);
  }
  out.push_back(openblas);
#if defined(ISOBIT_HAVE_CUDA)
  out.push_back(cuda::cuda_status());
  out.push_back(cuda::vendor_status_line("cublas"));
  out.push_back(cuda::vendor_status_line("cublaslt"));
#else
  out.push_back({"reference on cuda", "this build has no CUDA", {}});
#endif
  return out;
}

}  // namespace isobit
