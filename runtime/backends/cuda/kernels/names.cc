// Capturing, and the few functions of the driver that name a kernel (kernels/names.h).

#include "runtime/backends/cuda/kernels/names.h"

#include <cuda.h>
#include <dlfcn.h>

#include <optional>
#include <span>

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

/// Nothing when the node is neither a kernel with a name nor memory that is set.
std::optional<StartedKernel> kernel_of(cudaGraphNode_t node) {
  cudaGraphNodeType type{};
  if (cudaGraphNodeGetType(node, &type) != cudaSuccess) return std::nullopt;
  if (type == cudaGraphNodeTypeMemset) return StartedKernel{};
  if (type != cudaGraphNodeTypeKernel) return std::nullopt;
  CUDA_KERNEL_NODE_PARAMS_v2 params{};
  if (driver().node_params(node, &params) != CUDA_SUCCESS) return std::nullopt;
  const char* name = nullptr;
  const CUresult found = params.func != nullptr ? driver().function_name(&name, params.func)
                                                : driver().kernel_name(&name, params.kern);
  if (found != CUDA_SUCCESS || name == nullptr) return std::nullopt;
  return StartedKernel{name, params.blockDimX, params.gridDimZ};
}

std::string slices_text(const StartedKernel& kernel) {
  return kernel.slices > 1 ? " z" + std::to_string(kernel.slices) : "";
}

}  // namespace

std::string short_kernel_name(const std::string& name) {
  constexpr std::size_t kMost = 72, kDigits = 8;
  if (name.size() <= kMost) return name;
  const auto bytes = std::as_bytes(std::span(name.data(), name.size()));
  return name.substr(0, kMost - kDigits - 1) + "~" + to_hex(digest_bytes(bytes)).substr(0, kDigits);
}

std::string brief_text(const std::vector<StartedKernel>& kernels) {
  std::string out;
  for (const StartedKernel& kernel : kernels) {
    if (kernel.name.empty()) continue;
    out += (out.empty() ? "" : " + ") + short_kernel_name(kernel.name) + slices_text(kernel);
  }
  return out;
}

std::string full_text(const std::vector<StartedKernel>& kernels) {
  std::string out;
  for (const StartedKernel& kernel : kernels) {
    if (!out.empty()) out += " + ";
    out += kernel.name.empty()
               ? "memset"
               : kernel.name + " b" + std::to_string(kernel.width) + slices_text(kernel);
  }
  return out;
}

std::vector<StartedKernel> started_kernels(cudaStream_t stream, const std::function<int()>& call) {
  cudaStreamCaptureStatus busy{};
  if (!driver().complete() || cudaStreamIsCapturing(stream, &busy) != cudaSuccess ||
      busy != cudaStreamCaptureStatusNone ||
      cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed) != cudaSuccess) {
    cudaGetLastError();
    return {};
  }
  const int status = call();
  cudaGraph_t graph = nullptr;
  const cudaError_t ended = cudaStreamEndCapture(stream, &graph);
  std::vector<StartedKernel> out;
  std::size_t count = 0;
  if (status == 0 && ended == cudaSuccess && graph != nullptr &&
      cudaGraphGetNodes(graph, nullptr, &count) == cudaSuccess) {
    std::vector<cudaGraphNode_t> nodes(count);
    if (count > 0 && cudaGraphGetNodes(graph, nodes.data(), &count) != cudaSuccess) nodes.clear();
    for (const cudaGraphNode_t node : nodes) {
      if (auto kernel = kernel_of(node)) out.push_back(std::move(*kernel));
    }
  }
  if (graph != nullptr) cudaGraphDestroy(graph);
  cudaGetLastError();  // what failed here is no failure of the product
  return out;
}

}  // namespace isobit::cuda
