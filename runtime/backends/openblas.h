// OpenBLAS as an engine: the CPU backend with gemm replaced by cblas_?gemm, loaded at run time.
//
// One process has one OpenBLAS with one core type (OPENBLAS_CORETYPE is read when it is loaded), so
// the executor gives every core type a worker of its own. Callers: registry.cc.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "runtime/backends/registry.h"

namespace isobit {

/// Core types this project names, with what they need of the CPU; empty when this CPU has it.
struct OpenBlasCore {
  std::string name;     // as OPENBLAS_CORETYPE takes it
  std::string missing;  // "avx512", …
};
const std::vector<OpenBlasCore>& openblas_cores();

/// The library's file in the loader's usual folders, found without loading it; empty: none.
std::string openblas_path();

/// Functions of its row in the table (registry.h, EngineEntry).
Result<EngineChoice> parse_openblas(const EnginePairs& pairs);
/// Does not load the library.
std::string openblas_unsupported(const BackendOptions& options, const Mode& mode);
Result<std::unique_ptr<Backend>> make_openblas(const BackendOptions& options, const Mode& mode);
/// The core type that is asked for, or that the library chooses for this CPU: asked once, in a
/// child process.
std::string openblas_variant(const BackendOptions& options);
std::vector<EngineStatus> openblas_status();

}  // namespace isobit
