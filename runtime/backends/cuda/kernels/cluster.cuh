// What the GEMM kernels share: a GPU's room, asynchronous copies, the order of kernels in a stream,
// and the neighbour tree over sums that lie in registers, shared memory or a cluster of blocks.
//
// Below sm_90 there are no clusters; kernels are then launched with one block a cluster.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "runtime/backends/cuda/device/device.h"

namespace isobit::cuda {

/// What this thread's GPU has room for.
struct Room {
  int multiprocessors = 0;
  int shared = 0;  // bytes of a block
  bool clusters = false;
};
inline Room room_of_gpu() {
  const auto ask = [](cudaDeviceAttr what) {
    int gpu = 0, value = 0;
    check(cudaGetDevice(&gpu), "cudaGetDevice");
    check(cudaDeviceGetAttribute(&value, what, gpu), "cudaDeviceGetAttribute");
    return value;
  };
  return {ask(cudaDevAttrMultiProcessorCount), ask(cudaDevAttrMaxSharedMemoryPerBlockOptin),
          ask(cudaDevAttrComputeCapabilityMajor) >= 9};
}

__device__ inline unsigned shared_address(const void* p) {
  return unsigned(__cvta_generic_to_shared(p));
}
__device__ inline void copy_async(unsigned to, const void* from) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(from) : "memory");
}
__device__ inline void commit_copies() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
/// All groups but the last kLeft are here.
template <int kLeft>
__device__ inline void wait_for_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kLeft) : "memory");
}

/// What comes before this kernel in the stream has written its results.
__device__ inline void wait_for_earlier_kernels() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
/// The next kernel may start before this one ends, when it was launched so.
__device__ inline void let_next_kernel_start() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

__device__ inline void cluster_barrier() {
#if __CUDA_ARCH__ >= 900
  asm volatile("barrier.cluster.arrive.aligned;\n\tbarrier.cluster.wait.aligned;" ::: "memory");
#endif
}
/// The value at the same place of another block's shared memory.
template <class T>
__device__ inline T load_remote(unsigned address, int block) {
  T value{};
#if __CUDA_ARCH__ >= 900
  unsigned there;
  asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(address), "r"(block));
  if constexpr (sizeof(T) == 8) {
    asm volatile("ld.shared::cluster.f64 %0, [%1];" : "=d"(value) : "r"(there) : "memory");
  } else {
    asm volatile("ld.shared::cluster.f32 %0, [%1];" : "=f"(value) : "r"(there) : "memory");
  }
#endif
  return value;
}

/// The neighbour tree over get(first), … get(first + n - 1).
template <class T, int n, class F>
__device__ inline T tree(const F& get, int first) {
  if constexpr (n == 1) {
    return get(first);
  } else {
    const T left = tree<T, n / 2>(get, first), right = tree<T, n / 2>(get, first + n / 2);
    return left + right;
  }
}
/// The same for n of 1, 2, 4 or 8.
template <class T, class F>
__device__ inline T tree_of(int n, const F& get) {
  return n == 8   ? tree<T, 8>(get, 0)
         : n == 4 ? tree<T, 4>(get, 0)
         : n == 2 ? tree<T, 2>(get, 0)
                  : get(0);
}

}  // namespace isobit::cuda
