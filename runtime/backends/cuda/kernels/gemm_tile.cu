// GEMM for many rows (prefill): which tile of gemm_tile.cuh serves a call, and the planes of GPUs
// without clusters.

#include <algorithm>

#include "runtime/backends/cuda/kernels/gemm_tile.cuh"

namespace isobit::cuda {
namespace tile {
namespace {

/// How a call is dealt out.
struct Plan {
  std::int64_t tiles = 0, at_once = 0;
  int blocks = 1;          // that share a tile
  std::size_t levels = 0;  // bytes of the counters of all blocks
  std::size_t planes = 0;  // bytes of the sums of GPUs without clusters
};

/// One block a tile where there are enough of them; else a tile's segments are dealt out, and all
/// of them where one tile has all rows: the shorter the blocks, the better they fill the GPU.
/// Clusters do not find the last places of a GPU that they would just fill.
template <class T, class S>
Plan plan_of(const Room& gpu, const GemmCall& call) {
  Plan plan;
  const std::int64_t down = (call.rows + S::kRows - 1) / S::kRows;
  plan.tiles = down * ((call.w.n + S::kOutputs - 1) / S::kOutputs);
  const std::int64_t room = std::int64_t(gpu.multiprocessors) * S::kBlocks;
  const auto fits = [&](int blocks) {
    const std::int64_t all = plan.tiles * blocks;
    return all <= (blocks > 2 ? room * 9 / 10 : room) || (down == 1 && all > room);
  };
  while (plan.blocks < std::min(call.w.segments, 8) && fits(plan.blocks * 2)) plan.blocks *= 2;
  plan.at_once = plan.blocks == 1 ? std::min(plan.tiles, room) : plan.tiles;
  int kept = 0;
  for (int own = call.w.segments / plan.blocks; own > 1; own /= 2) ++kept;
  plan.levels = std::size_t(plan.at_once * plan.blocks) * std::size_t(kept) * S::kRows *
                S::kOutputs * sizeof(T);
  if (!gpu.clusters && plan.blocks > 1) {
    plan.planes = std::size_t(plan.blocks) * std::size_t(call.rows * call.w.n) * sizeof(T);
  }
  return plan;
}

constexpr int kTreeThreads = 256;

template <class T>
__global__ void tree_kernel(const T* planes, std::int64_t plane, int count, std::int64_t rows,
                            std::int64_t n, T* out, std::int64_t out_stride) {
  const std::int64_t i = std::int64_t(blockIdx.x) * kTreeThreads + std::int64_t(threadIdx.x);
  if (i >= rows * n) return;
  out[i / n * out_stride + i % n] =
      canonical(tree_of<T>(count, [&](int s) { return planes[s * plane + i]; }));
}

template <class T, class W, class S>
void launch(const GemmCall& g, void* workspace) {
  const Room gpu = room_of_gpu();
  const Plan plan = plan_of<T, S>(gpu, g);
  T* const planes = reinterpret_cast<T*>(static_cast<char*>(workspace) + plan.levels);
  Call<T> call{static_cast<const T*>(g.x), g.x_stride,  g.rows, g.w,
               static_cast<T*>(g.out),     g.out_stride};
  call.levels = static_cast<T*>(workspace);
  call.blocks = plan.blocks;
  call.cluster = plan.blocks > 1 && gpu.clusters;
  call.aligned = g.x_stride % 4 == 0 && reinterpret_cast<std::uintptr_t>(g.x) % 16 == 0;
  for (int s = 0; s < g.w.segments; ++s) call.aligned = call.aligned && g.w.bounds[s] % 4 == 0;
  if (plan.planes > 0) {
    call.out = planes;
    call.out_stride = g.w.n;
    call.plane = g.rows * g.w.n;
  }
  std::size_t shared = std::size_t(2) * S::kStage * sizeof(T);
  if (call.cluster) shared = std::max(shared, std::size_t(S::kRows) * S::kOutputs * sizeof(T));
  allow_shared(reinterpret_cast<const void*>(tile_kernel<T, W, S>), shared);
  cudaLaunchAttribute cluster = {};
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(unsigned(plan.at_once * plan.blocks));
  config.blockDim = dim3(S::kThreads);
  config.dynamicSmemBytes = shared;
  config.stream = g.stream;
  if (call.cluster) {
    cluster.id = cudaLaunchAttributeClusterDimension;
    cluster.val.clusterDim = {unsigned(plan.blocks), 1, 1};
    config.attrs = &cluster;
    config.numAttrs = 1;
  }
  check(cudaLaunchKernelEx(&config, tile_kernel<T, W, S>, call), "gemm_tile");
  if (plan.planes == 0) return;
  tree_kernel<T>
      <<<unsigned((call.plane + kTreeThreads - 1) / kTreeThreads), kTreeThreads, 0, g.stream>>>(
          planes, call.plane, plan.blocks, g.rows, g.w.n, static_cast<T*>(g.out), g.out_stride);
  check_launch("gemm_tree");
}

/// f with the tile that serves the call.
template <class T, class F>
void with_shape(const GemmCall& call, F&& f) {
  if constexpr (sizeof(T) == 8) {
    f(Shape<64, 64, 4, 4, 2>{});
  } else if (call.rows <= 256) {
    f(Shape<64, 128, 8, 8, 3>{});
  } else {
    f(Shape<128, 256, 8, 16, 1>{});
  }
}

}  // namespace
}  // namespace tile

std::size_t gemm_tile_bytes(const GemmCall& call) {
  if (call.rows * call.w.n == 0 || call.w.segments == 0) return 0;
  std::size_t bytes = 0;
  with_types(call.wide, call.w.element, [&]<class T, class W>(T, W) {
    tile::with_shape<T>(call, [&]<class S>(S) {
      const tile::Plan plan = tile::plan_of<T, S>(room_of_gpu(), call);
      bytes = plan.levels + plan.planes;
    });
  });
  return bytes;
}

const char* gemm_tile(const GemmCall& call, void* workspace) {
  if (call.rows * call.w.n == 0 || call.w.segments == 0) return gemm_rows(call);
  with_types(call.wide, call.w.element, [&]<class T, class W>(T, W) {
    tile::with_shape<T>(call, [&]<class S>(S) { tile::launch<T, W, S>(call, workspace); });
  });
  return "gemm_tile";
}

}  // namespace isobit::cuda
