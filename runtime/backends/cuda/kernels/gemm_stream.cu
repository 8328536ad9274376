// GEMM for few rows at the speed of memory: which shape of gemm_stream.cuh serves a call.

#include <algorithm>

#include "runtime/backends/cuda/kernels/gemm_stream.cuh"

namespace isobit::cuda {
namespace stream {
namespace {

constexpr int kPanel = 16;  // words of a panel of x

template <class W, class S>
std::size_t shared_bytes(const Call& call) {
  const auto own = std::size_t(call.w.segments / call.blocks),
             warps = own * std::size_t(call.warps);
  const std::size_t ring = warps * S::kDepth * S::kStep * S::kWide * 16;
  const std::size_t panels = own * 2 * std::size_t(call.panel) * W::kVector / 4 * S::kRows * 16;
  const std::size_t sums = own * S::kRows * std::size_t(call.warps) * S::kWide * 4;
  return std::max(ring + panels, sums);
}

/// How a shape is dealt out: clusters of `blocks` blocks, `least` to `most` warps a segment.
/// `early`: weights are fetched while the kernel before still runs; good unless arithmetic is the
/// limit, where its blocks would take places beside those of the kernel before and leave others
/// empty.
struct Layout {
  int blocks, least, most;
  bool early;
};

/// As many warps a segment as there is work for when every multiprocessor has one block. Of eight
/// blocks a cluster an H100 places 15; 13 find places of their own (measured).
template <class W, class S>
bool lay_out(const Room& gpu, const Layout& layout, Call& call) {
  call.blocks = gpu.clusters ? std::min(call.w.segments, layout.blocks) : 1;
  const int own = call.w.segments / call.blocks;
  const std::int64_t groups = (call.w.n + S::kWide - 1) / S::kWide;  // of a segment
  const std::int64_t at_once =
      std::max(1, gpu.multiprocessors / call.blocks - (call.blocks == 8 ? 3 : 0));
  const std::int64_t wanted =
      std::clamp<std::int64_t>((groups + at_once - 1) / at_once, layout.least, layout.most);
  call.warps = int(std::min<std::int64_t>(wanted, S::kThreads / 32 / own));
  call.panel = kPanel;
  return own <= 8 && call.warps > 0 && shared_bytes<W, S>(call) <= std::size_t(gpu.shared);
}

template <class W, class S>
void launch(const GemmCall& g, const Call& call, bool early) {
  const std::size_t shared = shared_bytes<W, S>(call);
  allow_shared(reinterpret_cast<const void*>(stream_kernel<W, S>), shared);
  const std::int64_t wide = std::int64_t(call.warps) * S::kWide;
  cudaLaunchAttribute attributes[2] = {};
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(unsigned((g.w.n + wide - 1) / wide * call.blocks),
                        unsigned((g.rows + S::kRows - 1) / S::kRows));
  config.blockDim = dim3(unsigned(32 * call.warps * (g.w.segments / call.blocks)));
  config.dynamicSmemBytes = shared;
  config.stream = g.stream;
  config.attrs = attributes;
  if (call.blocks > 1) {
    auto& cluster = attributes[config.numAttrs++];
    cluster.id = cudaLaunchAttributeClusterDimension;
    cluster.val.clusterDim = {unsigned(call.blocks), 1, 1};
  }
  if (early) {
    auto& overlap = attributes[config.numAttrs++];
    overlap.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    overlap.val.programmaticStreamSerializationAllowed = 1;
  }
  check(cudaLaunchKernelEx(&config, stream_kernel<W, S>, call), "gemm_stream");
}

/// False: this shape cannot hold the call.
template <class W, class S>
bool run(const Room& gpu, const GemmCall& g, const Layout& layout) {
  static_assert(kPanel % S::kStep == 0 && kPanel >= (S::kDepth - 1) * S::kStep);
  Call call{static_cast<const float*>(g.x),
            g.x_stride,
            g.rows,
            g.w,
            static_cast<float*>(g.out),
            g.out_stride,
            1,
            1,
            0};
  if (!lay_out<W, S>(gpu, layout, call)) return false;
  launch<W, S>(g, call, layout.early && gpu.clusters);
  return true;
}

/// The fastest of the shapes and layouts that were measured, for a narrow, middle or wide matrix.
template <class W>
bool run_fastest(const Room& gpu, const GemmCall& g) {
  const bool narrow = g.w.n <= 2048, wide = g.w.n > 8192;
  constexpr Layout kNarrow{8, 4, 4, true}, kWide{8, 8, 8, true}, kPairs{2, 1, 4, false};
  if (g.rows == 1) {
    return run<W, Shape<1, 1, 1, 4, 4, 512>>(gpu, g,
                                             wide ? Layout{1, 2, 2, true} : Layout{1, 1, 1, true});
  }
  if (g.rows == 2) {
    if (narrow) return run<W, Shape<2, 1, 1, 4, 4, 512>>(gpu, g, kNarrow);
    return run<W, Shape<2, 2, 1, 5, 2, 512>>(gpu, g,
                                             wide ? Layout{1, 2, 2, true} : Layout{8, 4, 4, true});
  }
  if (g.rows <= 4) {
    if (wide) return run<W, Shape<4, 4, 1, 4, 2, 448>>(gpu, g, kWide);
    return run<W, Shape<4, 1, 1, 6, 2, 512>>(gpu, g, narrow ? kNarrow : Layout{8, 1, 16, false});
  }
  if (g.rows <= 8) {
    if (wide) return run<W, Shape<8, 4, 1, 4, 2, 384>>(gpu, g, kWide);
    return run<W, Shape<4, 2, 2, 6, 2, 512>>(gpu, g, narrow ? kNarrow : kPairs);
  }
  if (g.rows <= 16) {
    if (wide) return run<W, Shape<8, 8, 2, 4, 2, 256>>(gpu, g, kWide);
    return run<W, Shape<8, 2, 2, 6, 2, 448>>(gpu, g, narrow ? kNarrow : kPairs);
  }
  if (wide) return run<W, Shape<8, 8, 4, 5, 2, 256>>(gpu, g, kWide);
  return run<W, Shape<8, 4, 4, 6, 2, 384>>(gpu, g, narrow ? Layout{8, 4, 4, false} : kPairs);
}

/// Whole words in segments of one length, x in 16 bytes.
bool takes(const GemmCall& g) {
  if (g.wide || g.rows < 1 || g.rows >= kTileRows || g.w.segments < 1) return false;
  if (g.x_stride % 4 != 0 || reinterpret_cast<std::uintptr_t>(g.x) % 16 != 0) return false;
  const std::int64_t length = g.w.bounds[1] - g.w.bounds[0];
  if (length % vector_of(g.w.element) != 0) return false;
  for (int s = 0; s < g.w.segments; ++s) {
    if (g.w.bounds[s + 1] - g.w.bounds[s] != length) return false;
  }
  return g.w.bounds[0] % 4 == 0;
}

}  // namespace
}  // namespace stream

bool gemm_stream(const GemmCall& call) {
  if (!stream::takes(call)) return false;
  const Room gpu = room_of_gpu();
  bool done = false;
  with_types(false, call.w.element,
             [&]<class T, class W>(T, W) { done = stream::run_fastest<W>(gpu, call); });
  return done;
}

}  // namespace isobit::cuda
