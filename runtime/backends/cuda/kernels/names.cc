// Capturing, and the few functions of the driver that name a kernel (kernels/names.h).

#include "runtime/backends/cuda/kernels/names.h"

#include <cuda.h>
#include <dlfcn.h>

#include <span>
#include <vector>

#include "runtime/numerics/digest.h"

namespace isobit::cuda {
namespace {

struct Driver {
  CUresult (*node_params)(CUgraphNode, CUDA_KERNEL_NODE_PARAMS_v2*) = nullptr;
  CUresult (*function_name)(const char**, CUfunction) = nullptr;
  CUresult (*kernel_name)(const char**, CUkernel) = nullptr;
  [[nodiscard]] bool complete() const {
    return node_params != nullptr && function_name != nullptr && kernel_name != nullptr;
  }
};

const Driver& driver() {
  static const Driver once = [] {
    Driver out;
    void* const library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) return out;
    const auto find = [&](const char* name, auto& to) {
      to = reinterpret_cast<std::remove_reference_t<decltype(to)>>(dlsym(library, name));
    };
    find("cuGraphKernelNodeGetParams_v2", out.node_params);
    find("cuFuncGetName", out.function_name);
    find("cuKernelGetName", out.kernel_name);
    return out;
  }();
  return once;
}

/// Name and third grid size of one node, "" when it is no kernel or has no name.
std::string name_of(cudaGraphNode_t node) {
  cudaGraphNodeType type{};
  if (cudaGraphNodeGetType(node, &type) != cudaSuccess || type != cudaGraphNodeTypeKernel) {
    return "";
  }
  CUDA_KERNEL_NODE_PARAMS_v2 params{};
  if (driver().node_params(node, &params) != CUDA_SUCCESS) return "";
  const char* name = nullptr;
  const CUresult found = params.func != nullptr ? driver().function_name(&name, params.func)
                                                : driver().kernel_name(&name, params.kern);
  if (found != CUDA_SUCCESS || name == nullptr) return "";
  const std::string split = params.gridDimZ > 1 ? " z" + std::to_string(params.gridDimZ) : "";
  return short_kernel_name(name) + split;
}

}  // namespace

std::string short_kernel_name(const std::string& name) {
  constexpr std::size_t kMost = 72, kDigits = 8;
  if (name.size() <= kMost) return name;
  const auto bytes = std::as_bytes(std::span(name.data(), name.size()));
  return name.substr(0, kMost - kDigits - 1) + "~" + to_hex(digest_bytes(bytes)).substr(0, kDigits);
}

std::string kernel_names(cudaStream_t stream, const std::function<int()>& call) {
  cudaStreamCaptureStatus busy{};
  if (!driver().complete() || cudaStreamIsCapturing(stream, &busy) != cudaSuccess ||
      busy != cudaStreamCaptureStatusNone ||
      cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed) != cudaSuccess) {
    cudaGetLastError();
    return "";
  }
  const int status = call();
  cudaGraph_t graph = nullptr;
  const cudaError_t ended = cudaStreamEndCapture(stream, &graph);
  std::string out;
  std::size_t count = 0;
  if (status == 0 && ended == cudaSuccess && graph != nullptr &&
      cudaGraphGetNodes(graph, nullptr, &count) == cudaSuccess) {
    std::vector<cudaGraphNode_t> nodes(count);
    if (count > 0 && cudaGraphGetNodes(graph, nodes.data(), &count) != cudaSuccess) nodes.clear();
    for (const cudaGraphNode_t node : nodes) {
      const std::string name = name_of(node);
      if (!name.empty()) out += (out.empty() ? "" : " + ") + name;
    }
  }
  if (graph != nullptr) cudaGraphDestroy(graph);
  cudaGetLastError();  // what failed here is no failure of the product
  return out;
}

}  // namespace isobit::cuda
