// Which kernels a library starts for a call, found by capturing the call into a graph that is
// thrown away: cublasGemmEx says nothing else of its choice.
//
// Promise: nothing is executed; whatever fails gives "" and leaves the stream as it was. Callers:
// cublas.cc.
#pragma once

#include <cuda_runtime_api.h>

#include <functional>
#include <string>

namespace isobit::cuda {

/// "name z4 + name2": z is the grid's third size, by which cuBLAS splits K; left out when it is 1.
/// `call` starts the work on the stream and gives 0 when it could. Long names end in a digest.
std::string kernel_names(cudaStream_t stream, const std::function<int()>& call);
/// At most 72 characters: the name, or its begin and eight digits of its digest.
std::string short_kernel_name(const std::string& name);

}  // namespace isobit::cuda
