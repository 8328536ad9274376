// One row by several panels at once: what a decode step reads its weights with.
//
// A thread's panels are cut into P equal runs, and the first panels of all runs go together, then
// the second ones: P streams of weights, each of consecutive memory from the run's begin to its
// end. The processor's own prefetcher follows such streams; it does not follow the segments of one
// panel, which end after a page or two (measured: a plain read of 540 MB by one thread of Zen 3 is
// 17 GB/s as streams of 9 KB, 23 GB/s as streams of 100 KB and more, and no prefetch instruction
// makes it faster). Every chain and every tree is run_strip's. Callers: kernels/simd_gemm.h.
#pragma once

#include "runtime/backends/cpu/kernels/simd_tile.h"

namespace isobit::cpu::simd {

template <class V>
struct Streams {
  using T = typename V::T;
  const T* x;                  // (k)
  const void* weights;         // (k, 32) of the first run's panel
  std::int64_t apart;          // elements from there to the next run's
  const std::int64_t* bounds;  // (segments + 1)
  int segments;
  T* level;  // (P, levels, N registers): the counters
  T* out;    // at the first run's panel
  std::int64_t out_apart;
  std::int64_t outputs;  // valid ones from there on
};

/// As many streams as have chains enough to hide the latency of fma, and registers.
template <class V>
constexpr int stream_count() {
  constexpr int kFit = V::kAccumulators / panel_registers<V>();
  return kFit < 4 ? kFit : 4;
}

template <class V, Format kElement, int P>
void run_streams(const Streams<V>& task) {
  using Reg = typename V::Reg;
  using W = Weights<V, kElement>;
  constexpr int N = panel_registers<V>(), kSlot = N * V::kWidth;
  const auto* weights = static_cast<const typename W::Element*>(task.weights);
  for (int segment = 0; segment < task.segments; ++segment) {
    Reg acc[P * N];
    unroll<P * N>([&](auto i) ISOBIT_ALWAYS_INLINE { acc[i] = Reg{}; });
    const std::int64_t begin = task.bounds[segment], end = task.bounds[segment + 1];
    for (std::int64_t k = begin; k < end; ++k) {
      unroll<P>([&](auto p) ISOBIT_ALWAYS_INLINE {
        step<V, W, 1, N>(task.x + k, weights + p * task.apart + k * kPanel, acc + p * N);
      });
    }
    unroll<P>([&](auto p) ISOBIT_ALWAYS_INLINE {
      count_segment<V, N>(acc + p * N, segment, task.level + p * kTreeLevels * kSlot);
    });
  }
  unroll<P>([&](auto p) ISOBIT_ALWAYS_INLINE {
    store_root<V, W::kPaired, 1, N>(task.level + p * kTreeLevels * kSlot, task.segments,
                                    task.out + p * task.out_apart, 0,
                                    task.outputs - p * task.out_apart);
  });
}

template <class V>
using StreamsFunction = void (*)(const Streams<V>&);

/// Null for elements that have no streams.
template <class V, int P>
StreamsFunction<V> streams_function(Format element) {
  if constexpr (sizeof(typename V::T) == 8) {
    return element == Format::f64 ? run_streams<V, Format::f64, P> : nullptr;
  } else {
    switch (element) {
      case Format::f32:
        return run_streams<V, Format::f32, P>;
      case Format::bf16:
        return run_streams<V, Format::bf16, P>;
      case Format::fp16:
        return run_streams<V, Format::fp16, P>;
      default:
        return nullptr;
    }
  }
}

/// One row by panels [begin, end), as many as make equal runs; gives the first panel left over.
template <class V>
std::int64_t gemm_streams(const GemmArgs<typename V::T>& args, std::int64_t begin,
                          std::int64_t end) {
  constexpr int P = stream_count<V>();
  const PackedMatrix& w = *args.w;
  const StreamsFunction<V> function = P > 1 ? streams_function<V, P>(w.element) : nullptr;
  const std::int64_t run = (end - begin) / P;
  if (function == nullptr) return begin;
  auto* level = Scratch<V, 2>::of(P * kTreeLevels * kPanel);
  for (std::int64_t panel = begin; panel < begin + run; ++panel) {
    function({args.x + args.row_begin * args.x_stride, panel_columns<V>(w, panel, 0),
              run * w.k * kPanel, w.bounds.data(), w.segments(), level,
              args.out + args.row_begin * args.out_stride + panel * kPanel, run * kPanel,
              w.n - panel * kPanel});
  }
  return begin + run * P;
}

}  // namespace isobit::cpu::simd
