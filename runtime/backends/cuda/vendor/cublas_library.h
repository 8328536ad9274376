// NVIDIA's GEMM libraries behind dlopen: which files they are, and their functions.
//
// Promise: both libraries of one major version, the file that the loader takes, hashed once a
// process. Their headers are not needed; cublas_header_check.cc compares with them where they are.
// Callers: the engines and probe.cc in this folder; tests, which fill the tables with fakes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "runtime/base/result.h"

namespace isobit::cuda {

// The few constants of cublas_api.h, cublasLt.h and library_types.h that are used.
constexpr int kOperationNormal = 0, kOperationTransposed = 1;  // cublasOperation_t
constexpr int kCompute32 = 68, kCompute32Pedantic = 69;        // cublasComputeType_t
constexpr int kCompute64 = 70, kCompute64Pedantic = 71, kComputeTf32 = 77;
constexpr int kMathDefault = 0, kMathPedantic = 2, kMathTf32 = 3;  // cublasMath_t
constexpr int kReal32 = 0, kReal64 = 1, kReal16 = 2, kReal16b = 14,
              kReal8e4m3 = 28;                                   // cudaDataType
constexpr std::size_t kVendorWorkspace = std::size_t(32) << 20;  // bytes, given to both

/// "status 15 (not supported)".
std::string vendor_status(int status);

using CublasHandle = struct CublasOpaque*;
struct CublasCalls {
  int (*create)(CublasHandle*) = nullptr;
  int (*destroy)(CublasHandle) = nullptr;
  int (*version)(CublasHandle, int*) = nullptr;
  int (*set_stream)(CublasHandle, void* stream) = nullptr;
  int (*set_workspace)(CublasHandle, void*, std::size_t) = nullptr;
  int (*set_math)(CublasHandle, int) = nullptr;
  int (*set_pointer_mode)(CublasHandle, int) = nullptr;
  int (*gemm)(CublasHandle, int, int, int, int, int, const void*, const void*, int, int,
              const void*, int, int, const void*, void*, int, int, int, int) = nullptr;
};

struct LtAlgorithm {
  std::uint64_t data[8];
};
struct LtHeuristic {
  LtAlgorithm algorithm;
  std::size_t workspace;
  int state;
  float waves;
  int reserved[4];
};
using LtHandle = struct LtOpaque*;
using LtObject = struct LtObjectOpaque*;  // operation, layout or preference
struct LtCalls {
  int (*create)(LtHandle*) = nullptr;
  int (*destroy)(LtHandle) = nullptr;
  std::size_t (*version)() = nullptr;
  int (*operation_create)(LtObject*, int compute, int scale_type) = nullptr;
  int (*operation_destroy)(LtObject) = nullptr;
  int (*operation_set)(LtObject, int attribute, const void*, std::size_t) = nullptr;
  int (*layout_create)(LtObject*, int type, std::uint64_t rows, std::uint64_t cols,
                       std::int64_t stride) = nullptr;
  int (*layout_destroy)(LtObject) = nullptr;
  int (*preference_create)(LtObject*) = nullptr;
  int (*preference_destroy)(LtObject) = nullptr;
  int (*preference_set)(LtObject, int attribute, const void*, std::size_t) = nullptr;
  int (*heuristic)(LtHandle, LtObject operation, LtObject a, LtObject b, LtObject c, LtObject d,
                   LtObject preference, int asked, LtHeuristic*, int* found) = nullptr;
  int (*init)(LtHandle, int compute, int scale_type, int a, int b, int c, int d, int id,
              LtAlgorithm*) = nullptr;
  int (*check)(LtHandle, LtObject operation, LtObject a, LtObject b, LtObject c, LtObject d,
               const LtAlgorithm*, LtHeuristic*) = nullptr;
  int (*config_set)(LtAlgorithm*, int attribute, const void*, std::size_t) = nullptr;
  int (*config_get)(const LtAlgorithm*, int attribute, void*, std::size_t,
                    std::size_t* written) = nullptr;
  int (*matmul)(LtHandle, LtObject operation, const void* alpha, const void* a, LtObject a_layout,
                const void* b, LtObject b_layout, const void* beta, const void* c,
                LtObject c_layout, void* d, LtObject d_layout, const LtAlgorithm*, void* workspace,
                std::size_t workspace_bytes, void* stream) = nullptr;
};

/// Where a library lies and what it says of itself; path is empty when it cannot be loaded.
struct VendorFile {
  std::string path;
  std::string version;  // "13.0.2"
};
/// By loading them into this process: only the loader knows all its folders. For probe.cc's child.
VendorFile find_cublas_file();
VendorFile find_cublaslt_file();
/// Hex SHA-256 of a file, "" when it cannot be read; remembered while size and time are the same.
std::string vendor_sha256(const std::string& path);

template <class Calls>
struct VendorLibrary {
  Calls calls;
  std::string path, sha256_hex;
};
/// The process's libraries, loaded on first use.
Result<const VendorLibrary<CublasCalls>*> load_cublas();
Result<const VendorLibrary<LtCalls>*> load_cublaslt();

}  // namespace isobit::cuda
