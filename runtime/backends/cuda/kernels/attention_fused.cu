// Fused attention of libraries, literally (numerics/fused.h): one thread block computes one split
// of one query head, key block after key block; a second kernel combines the splits.
//
// A score is one thread's chain over head_dim, an output element one thread's chain over keys; the
// maximum and the sums of a block are one thread's, as the text has them. For its bits, not for its
// speed.

#include <cuda_runtime.h>

#include "runtime/backends/cuda/kernels/attention.cuh"
#include "runtime/backends/cuda/kernels/fused.h"

namespace isobit::cuda {
namespace {

constexpr int kFusedChannels = 256 / kThreads;  // of a thread

__constant__ SpecialTables tables = kHopperTables;

struct FusedCall {
  Call<float> call;
  TensorUnit unit;
  FusedScale scale;
  const FusedRow* rows;
};

struct FusedShared {
  float q[256];
  float p[kLargestFusedBlock], rounded[kLargestFusedBlock];
  std::int64_t v[kLargestFusedBlock];  // offset of a key's values; -1: zeros
  FusedState state;
  float before, inverse;
};

/// What a thread block works on.
struct FusedPart {
  QueryRow row;
  FusedRow of;
  TensorUnit unit;     // with the order's group
  int kv;              // head
  std::int64_t seen;   // columns [padding, seen) are visible
  std::int64_t index;  // of its log and output in the workspace
};

__device__ FusedPart part_of(const FusedCall& fused) {
  const AttentionCall& a = fused.call.a;
  const int head = int(blockIdx.y);
  FusedPart part{a.rows[blockIdx.z], fused.rows[blockIdx.z], fused.unit, 0, 0, 0};
  part.unit.group = part.of.plan.order.group;
  while (a.head_begin[part.kv + 1] <= head) ++part.kv;
  part.seen = part.of.padding + part.row.last + 1;
  part.index = (std::int64_t(blockIdx.z) * a.heads + head) * a.max_splits + blockIdx.x;
  return part;
}

/// Scores of the columns from `first` on into shared.p, -infinity where hidden, and where the
/// values of columns before `end` lie. Gives whether some column is visible; the same in every
/// thread.
template <class E>
__device__ bool fused_scores(const FusedCall& fused, const FusedPart& part, std::int64_t first,
                             std::int64_t end, FusedShared& shared) {
  const AttentionCall& a = fused.call.a;
  const FusedOrder& order = part.of.plan.order;
  int any = 0;
  for (int j = int(threadIdx.x); j < order.block; j += kThreads) {
    const std::int64_t column = first + j;
    const bool there = column >= part.of.padding && column < end;
    const int position = int(column - part.of.padding);
    shared.v[j] = there ? value_offset(a, part.row, position, part.kv) : -1;
    float score = float_of(0xff800000u);
    if (there && column < part.seen) {
      any = 1;
      const E* key = static_cast<const E*>(a.k_pool) + key_offset(a, part.row, position, part.kv);
      score = fused_score(order, fused.scale,
                          tensor_chain(
                              part.unit, [&](std::int64_t i) { return shared.q[i]; },
                              [&](std::int64_t i) { return widened(key[i * kKeyBlock]); }, 0, a.d));
    }
    shared.p[j] = score;
  }
  return __syncthreads_or(any) != 0;
}

/// Scores in shared.p to P there, and rounded beside it.
__device__ void fused_terms(const FusedCall& fused, const FusedPart& part, FusedShared& shared) {
  const FusedOrder& order = part.of.plan.order;
  if (threadIdx.x == 0) {
    const float greatest = fused_greatest(order, shared.p);
    shared.before = fused_rescale(tables, order, fused.scale, greatest, shared.state);
  }
  __syncthreads();
  for (int j = int(threadIdx.x); j < order.block; j += kThreads) {
    const float p = fused_p(tables, order, fused.scale, shared.p[j], shared.state.maximum);
    shared.p[j] = p;
    shared.rounded[j] = round_to(part.unit.operand, p);
  }
  __syncthreads();
}

/// o = o * before, then the chain over the block's groups.
template <class E>
__device__ void fused_outputs(const FusedCall& fused, const FusedPart& part,
                              const FusedShared& shared, float (&o)[kFusedChannels]) {
  const E* values = static_cast<const E*>(fused.call.a.v_pool);
#pragma unroll
  for (int n = 0; n < kFusedChannels; ++n) {
    const int i = n * kThreads + int(threadIdx.x);
    if (i >= fused.call.a.d) continue;
    float c = o[n] * shared.before;
    for (int j = 0; j < part.of.plan.order.block; j += part.unit.group) {
      c = tensor_group(
          part.unit, [&](int g) { return shared.rounded[j + g]; },
          [&](int g) {
            const std::int64_t at = shared.v[j + g];
            return at < 0 ? 0.0f : widened(values[at + i]);
          },
          part.unit.group, c);
    }
    o[n] = c;
  }
}

/// grid: (splits, heads, rows). A split's part_m is its log, its part_o is divided by its sum.
template <class E>
__global__ void __launch_bounds__(kThreads) fused_kernel(FusedCall fused) {
  __shared__ FusedShared shared;
  const AttentionCall& a = fused.call.a;
  const int t = int(threadIdx.x), split = int(blockIdx.x);
  if (split >= fused.rows[blockIdx.z].plan.splits) return;
  const FusedPart part = part_of(fused);
  const FusedOrder& order = part.of.plan.order;
  const FusedSpan span = fused_split(part.of.plan, part.of.keys, split);
  for (int i = t; i < a.d; i += kThreads) {
    shared.q[i] =
        fused.call.q[std::int64_t(blockIdx.z) * a.q_stride + std::int64_t(blockIdx.y) * a.d + i];
  }
  if (t == 0) shared.state = FusedState{};
  __syncthreads();
  float o[kFusedChannels] = {};
  const std::int64_t blocks = fused_blocks(span.end - span.begin, order.block);
  for (std::int64_t b = 0; b < blocks; ++b) {
    const std::int64_t first = span.begin + (order.last_first ? blocks - 1 - b : b) * order.block;
    if (!fused_scores<E>(fused, part, first, span.end, shared)) continue;
    fused_terms(fused, part, shared);
    fused_outputs<E>(fused, part, shared, o);
    // The last thread has no channel of a head that is narrower than the block of threads.
    if (t == kThreads - 1) fused_join(order, shared.before, shared.p, shared.state);
    __syncthreads();
  }
  if (t == 0) {
    const float sum = fused_sum(order, shared.state);
    shared.inverse = fused_inverse(tables, order, sum);
    fused.call.part_m[part.index] = fused_log_sum(tables, fused.scale, shared.state, sum);
  }
  __syncthreads();
#pragma unroll
  for (int n = 0; n < kFusedChannels; ++n) {
    const int i = n * kThreads + t;
    if (i < a.d) fused.call.part_o[part.index * a.d + i] = o[n] * shared.inverse;
  }
}

/// grid: (heads, rows), a thread an element.
__global__ void fused_combine_kernel(FusedCall fused) {
  __shared__ float factors[kMostFusedSplits];
  const AttentionCall& a = fused.call.a;
  const int i = int(threadIdx.x), splits = fused.rows[blockIdx.y].plan.splits;
  const std::int64_t part = (std::int64_t(blockIdx.y) * a.heads + blockIdx.x) * a.max_splits;
  if (i == 0 && splits > 1) {
    for (int s = 0; s < splits; ++s) factors[s] = fused.call.part_m[part + s];
    fused_split_factors(tables, splits, factors);
  }
  __syncthreads();
  if (i >= a.d) return;
  const auto element = [&](int s) { return fused.call.part_o[(part + s) * a.d + i]; };
  float o = splits > 1 ? 0.0f : element(0);
  for (int s = 0; splits > 1 && s < splits; ++s) o = fma_(factors[s], element(s), o);
  float* out =
      fused.call.out + std::int64_t(blockIdx.y) * a.out_stride + std::int64_t(blockIdx.x) * a.d;
  out[i] = round_to(fused.unit.operand, o);
}

template <class E>
void launch(const FusedCall& fused) {
  const AttentionCall& a = fused.call.a;
  const dim3 grid(unsigned(a.max_splits), unsigned(a.heads), unsigned(a.row_count));
  fused_kernel<E><<<grid, kThreads, 0, a.stream>>>(fused);
  check_launch("attention_fused");
  fused_combine_kernel<<<dim3(unsigned(a.heads), unsigned(a.row_count)),
                         unsigned(a.d + 31) / 32 * 32, 0, a.stream>>>(fused);
  check_launch("attention_fused_combine");
}

}  // namespace

void attention_fused(const AttentionCall& call, const TensorUnit& unit, const FusedRow* rows) {
  if (call.row_count * call.heads == 0) return;
  const FusedCall fused{make_call<float>(call), unit, fused_scale(float(call.scale)), rows};
  if (call.cache == Format::bf16) return launch<KvBf16>(fused);
  launch<KvFp16>(fused);
}

}  // namespace isobit::cuda
