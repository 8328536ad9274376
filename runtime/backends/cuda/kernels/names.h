// Which kernels a library starts for a call, found by capturing the call into a graph that is
// thrown away: cublasGemmEx says nothing else of its choice.
//
// Promise: nothing is executed; whatever fails gives none and leaves the stream as it was. Callers:
// cublas.cc.
#pragma once

#include <cuda_runtime_api.h>

#include <functional>
#include <string>
#include <vector>

namespace isobit::cuda {

struct StartedKernel {
  std::string name;                // whole and mangled; "" for memory that is set
  unsigned width = 0, slices = 0;  // the block's first size; the grid's third, by which K is split
  bool operator==(const StartedKernel&) const = default;
};
/// In the order of the graph. `call` starts the work on the stream and gives 0 when it could. A
/// library that has not loaded what it starts gives none.
std::vector<StartedKernel> started_kernels(cudaStream_t stream, const std::function<int()>& call);
/// "name z4 + name2", names short, slices left out when they are 1, without what has no name.
std::string brief_text(const std::vector<StartedKernel>& kernels);
/// "memset + name b128 z4 + name2 b32", names whole.
std::string full_text(const std::vector<StartedKernel>& kernels);
/// At most 72 characters: the name, or its begin and eight digits of its digest.
std::string short_kernel_name(const std::string& name);

}  // namespace isobit::cuda
