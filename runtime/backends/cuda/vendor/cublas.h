// cuBLAS and cublasLt as engines: the CUDA backend with gemm replaced by the library's product and
// nothing else.
//
// Promise: every argument of a call is explicit; the libraries are found and loaded at run time.
// What is observed names the library's file, its digest, what was asked for and what was chosen.
// Callers: registry.cc (through cuda/engine.h), this folder.
#pragma once

#include <cstdint>

#include "runtime/backends/cuda/device/device.h"

namespace isobit::cuda {

/// x (rows, cols) fp32 with a stride -> out (rows, cols) dense bf16, fp16 or e4m3, whose values
/// they are already.
void narrow(cudaStream_t stream, const float* x, std::int64_t stride, std::int64_t rows,
            std::int64_t cols, Format element, void* out);

}  // namespace isobit::cuda
