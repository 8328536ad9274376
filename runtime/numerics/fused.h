// Fused attention as vendors' kernels on a Hopper GPU compute it, bit for bit (NUMERICS.md, "Fused
// attention of libraries"): FlashAttention-2 and the memory-efficient kernel as PyTorch builds
// them (arXiv 2307.08691, algorithm 1; arXiv 2112.05682), and cuDNN's kernels. The one literal
// text; host and device. Which kernel a call takes is data of a book; a kernel's text form is
// in attention_book.h.
//
// All of them go over keys in blocks with a running maximum. They differ in the blocks' size and
// order, in where scores are scaled and rounded, in how a row's P are summed, and in how many parts
// a block has. Products are chains of tensor-core groups (tensorcore.h), 2^x and 1/x are the
// special function unit's (special_unit.h).
#pragma once

#include <cstdint>

#include "runtime/numerics/cuda_functions.h"
#include "runtime/numerics/formats.h"
#include "runtime/numerics/fused_choice.h"
#include "runtime/numerics/tensorcore.h"

namespace isobit {

/// What a query sees: every key; those up to its own place, of which the last query has the last
/// key; or of those not the padding in front, which a mask that is added to the scores hides.
enum class FusedMask : std::uint8_t { free, causal, left };

/// Everything of a kernel that its bits depend on.
struct FusedOrder {
  /// raw: x = (s c) - (m c), c = fp32(scale log2 e), each rounded. scaled: s' = s c, x = s' - m.
  /// twice: s' = (s scale) log2 e, both rounded. m: the running maximum of s or s'.
  enum class Scores : std::uint8_t { raw, scaled, twice };
  std::int32_t block = 128;  // keys
  bool last_first = false;   // blocks from the last key's down
  Scores scores = Scores::scaled;
  /// running: four sums go on from block to block. fused: a block's four begin at +0 and join those
  /// before by one FMA, fma(sum, a, block's). warps: four of each 32 keys begin at +0, meet, and
  /// join one whole sum in turn.
  enum class Sums : std::uint8_t { running, fused, warps };
  Sums sums = Sums::running;
  bool crossed = false;     // four sums meet as (0 + 2) + (1 + 3), not (0 + 1) + (2 + 3)
  bool divides = false;     // the output is multiplied by 1 / sum, rounded, not by the unit's rcp
  std::int32_t group = 16;  // products of one tensor-core group
  bool operator==(const FusedOrder&) const = default;
};
constexpr int kLargestFusedBlock = 256;
constexpr int kMostFusedSplits = 128;  // of keys, each computed apart

/// One call: what a kernel's choice of blocks and splits depends on.
struct FusedShape {
  std::int64_t batch = 1, heads = 1, kv_heads = 1;
  std::int64_t queries = 1, keys = 1;
  std::int64_t head_dim = 64;
  FusedMask mask = FusedMask::free;
};

/// A kernel's order in one call.
struct FusedPlan {
  FusedOrder order;
  std::int32_t splits = 1;
  std::int64_t blocks_of_split = 0;  // with one split: all
};

/// Multiprocessors of the GPU whose kernels are meant where nothing else says: an H100 or H200.
constexpr std::int64_t kUsualMultiprocessors = 132;

ISOBIT_HD constexpr std::int64_t fused_blocks(std::int64_t n, std::int64_t block) {
  return (n + block - 1) / block;
}

/// FlashAttention-2's number of splits: the smallest that still fills `room` blocks of threads to
/// 85 % of what the best one does (PyTorch 2.11, flash_api.cpp, num_splits_heuristic).
inline std::int32_t fa2_splits(std::int64_t work, std::int64_t room, std::int64_t blocks) {
  if (double(work) >= 0.8 * double(room)) return 1;
  const std::int64_t most = blocks < kMostFusedSplits
                                ? (blocks < room ? blocks : room)
                                : (room < kMostFusedSplits ? room : kMostFusedSplits);
  const auto eligible = [&](std::int64_t n) {
    return n == 1 || fused_blocks(blocks, n) != fused_blocks(blocks, n - 1);
  };
  const auto efficiency = [&](std::int64_t n) {
    const float waves = float(n * work) / float(room);
    const float whole = float(std::int64_t(waves)) < waves ? float(std::int64_t(waves)) + 1.0f
                                                           : float(std::int64_t(waves));
    return waves / whole;
  };
  float best = 0;
  for (std::int64_t n = 1; n <= most; ++n) {
    if (eligible(n) && efficiency(n) > best) best = efficiency(n);
  }
  for (std::int64_t n = 1; n <= most; ++n) {
    if (eligible(n) && double(efficiency(n)) >= 0.85 * double(best)) return std::int32_t(n);
  }
  return 1;
}

/// FlashAttention-2 on a GPU with so many multiprocessors. One query a head that shares its keys
/// with others is computed as rows of one head.
inline FusedPlan fa2_plan(const FusedShape& shape, std::int64_t multiprocessors) {
  FusedPlan plan;
  plan.order = {128, true, FusedOrder::Scores::raw, FusedOrder::Sums::running, true, true};
  const std::int64_t d = shape.head_dim;
  const bool grouped = shape.queries == 1 && shape.heads > shape.kv_heads && d % 8 == 0;
  const std::int64_t heads = grouped ? shape.kv_heads : shape.heads;
  const std::int64_t rows = grouped ? shape.heads / shape.kv_heads : shape.queries;
  const std::int32_t split_block = d <= 64 ? 256 : d <= 128 ? 128 : 64;
  const std::int64_t blocks = fused_blocks(shape.keys, split_block);
  plan.splits =
      fa2_splits(shape.batch * heads * fused_blocks(rows, 64), 2 * multiprocessors, blocks);
  plan.order.block = plan.splits > 1 ? split_block : d <= 64 ? 128 : 64;
  plan.blocks_of_split = fused_blocks(fused_blocks(shape.keys, plan.order.block), plan.splits);
  return plan;
}

/// cuDNN's kernels: sm90 (wgmma) for several queries, sm80 for one, whose block is 32 or 64. A mask
/// that is added to the scores keeps the two factors apart.
inline FusedPlan cudnn_plan(FusedKernel kernel, std::int32_t block, std::int64_t keys,
                            bool masked) {
  FusedPlan plan;
  const bool sm90 = kernel == FusedKernel::cudnn_sm90;
  plan.order.block = sm90 ? 128 : block;
  plan.order.scores = sm90 && !masked ? FusedOrder::Scores::scaled : FusedOrder::Scores::twice;
  plan.order.sums = FusedOrder::Sums::fused;
  plan.blocks_of_split = fused_blocks(keys, plan.order.block);
  return plan;
}

/// PyTorch's memory-efficient kernel (CUTLASS) for heads of at most 128: its instruction is
/// m16n8k8 (PyTorch 2.11, mem_eff_attention/kernel_forward.h).
inline FusedPlan efficient_plan(std::int64_t head_dim, std::int64_t keys) {
  FusedPlan plan;
  plan.order = {head_dim <= 64 ? 64 : 128,
                false,
                FusedOrder::Scores::twice,
                FusedOrder::Sums::warps,
                false,
                true,
                8};
  plan.blocks_of_split = fused_blocks(keys, plan.order.block);
  return plan;
}

/// What a kernel does not have that a call of this width and mask would need; nullptr: nothing.
inline const char* fused_lacks(const FusedChoice& choice, std::int64_t head_dim, FusedMask mask) {
  const bool fa2 = choice.kernel == FusedKernel::fa2;
  if (fa2 && mask == FusedMask::left) return "mask left";
  return head_dim > (fa2 ? 256 : 128) ? "heads of this width" : nullptr;
}

/// REQUIRES: the kernel is not `none`.
inline FusedPlan fused_plan(const FusedChoice& choice, const FusedShape& shape,
                            std::int64_t multiprocessors) {
  if (choice.kernel == FusedKernel::fa2) return fa2_plan(shape, multiprocessors);
  if (choice.kernel == FusedKernel::efficient) return efficient_plan(shape.head_dim, shape.keys);
  return cudnn_plan(choice.kernel, choice.block, shape.keys, shape.mask == FusedMask::left);
}

/// The numbers by which scores are scaled.
struct FusedScale {
  float scale = 1, factor = 1;  // factor: fp32(scale * log2 e)
};
constexpr double kLog2E = 0x1.71547652b82fep+0;
ISOBIT_HD inline FusedScale fused_scale(float scale) {
  return {scale, float(double(scale) * kLog2E)};
}

/// One row's running maximum and the four sums of its P: sum t has the keys 8 j + 2 t and 8 j + 2 t
/// + 1 of every block. With `warps` the first is the whole sum.
struct FusedState {
  float maximum = float_of(0xff800000u);  // -infinity: no key yet
  float sums[4] = {0, 0, 0, 0};
};

/// The score of which maxima are taken, of a raw one.
ISOBIT_HD inline float fused_score(const FusedOrder& order, const FusedScale& scale, float raw) {
  if (order.scores == FusedOrder::Scores::raw) return raw;
  if (order.scores == FusedOrder::Scores::scaled) return raw * scale.factor;
  return (raw * scale.scale) * float(kLog2E);
}

/// 2^x of the difference of two scores.
ISOBIT_HD inline float fused_power(const SpecialTables& t, const FusedOrder& order,
                                   const FusedScale& scale, float score, float maximum) {
  const bool raw = order.scores == FusedOrder::Scores::raw;
  return special_ex2(t, raw ? score * scale.factor - maximum * scale.factor : score - maximum);
}

/// Takes a block's greatest score; gives the factor of what was summed before (0 at first).
ISOBIT_HD inline float fused_rescale(const SpecialTables& t, const FusedOrder& order,
                                     const FusedScale& scale, float greatest, FusedState& state) {
  const float before = state.maximum;
  if (greatest > before) state.maximum = greatest;
  if (before == float_of(0xff800000u)) return 0.0f;
  const float difference = before - state.maximum;
  return special_ex2(
      t, order.scores == FusedOrder::Scores::raw ? difference * scale.factor : difference);
}

/// The greatest of a block's scores; a NaN in the first place stays, any other is passed over.
ISOBIT_HD inline float fused_greatest(const FusedOrder& order, const float* scores) {
  float greatest = scores[0];
  for (int j = 1; j < order.block; ++j) greatest = scores[j] > greatest ? scores[j] : greatest;
  return greatest;
}

/// P of one score, fp32; 0 where it is hidden.
ISOBIT_HD inline float fused_p(const SpecialTables& t, const FusedOrder& order,
                               const FusedScale& scale, float score, float maximum) {
  const bool hidden = score == float_of(0xff800000u);
  return hidden ? 0.0f : fused_power(t, order, scale, score, maximum);
}

constexpr int kFusedWarp = 32;  // keys of a warp
/// Four sums in one.
ISOBIT_HD inline float fused_meet(const FusedOrder& order, const float* s) {
  return order.crossed ? (s[0] + s[2]) + (s[1] + s[3]) : (s[0] + s[1]) + (s[2] + s[3]);
}

/// A block's P join the sums; `before` is what fused_rescale() gave.
ISOBIT_HD inline void fused_join(const FusedOrder& order, float before, const float* p,
                                 FusedState& state) {
  using Sums = FusedOrder::Sums;
  for (int i = 0; i < 4 && order.sums != Sums::fused; ++i) state.sums[i] *= before;
  const int span = order.sums == Sums::warps ? kFusedWarp : order.block;
  for (int first = 0; first < order.block; first += span) {
    float sums[4] = {0, 0, 0, 0};
    float* to = order.sums == Sums::running ? state.sums : sums;
    for (int j = first; j < first + span; ++j) to[j % 8 / 2] += p[j];
    if (order.sums == Sums::warps) state.sums[0] += fused_meet(order, sums);
    for (int i = 0; i < 4 && order.sums == Sums::fused; ++i) {
      state.sums[i] = fma_(state.sums[i], before, sums[i]);
    }
  }
}

/// One block: its scores (fused_score(), -infinity where hidden, `block` of them) become P, fp32,
/// and join the sums. Gives the factor of the output before. REQUIRES: some score is visible.
ISOBIT_HD inline float fused_block(const SpecialTables& t, const FusedOrder& order,
                                   const FusedScale& scale, FusedState& state, float* scores) {
  const float before = fused_rescale(t, order, scale, fused_greatest(order, scores), state);
  for (int j = 0; j < order.block; ++j) {
    scores[j] = fused_p(t, order, scale, scores[j], state.maximum);
  }
  fused_join(order, before, scores, state);
  return before;
}

/// The row's whole sum.
ISOBIT_HD inline float fused_sum(const FusedOrder& order, const FusedState& state) {
  return order.sums == FusedOrder::Sums::warps ? state.sums[0] : fused_meet(order, state.sums);
}

/// What the output is multiplied by in the end: FlashAttention-2 divides, cuDNN takes the unit's
/// 1/x.
ISOBIT_HD inline float fused_inverse(const SpecialTables& t, const FusedOrder& order, float sum) {
  if (!(sum > 0.0f)) return 1.0f;
  return order.divides ? 1.0f / sum : special_rcp(t, sum);
}

/// log of the sum of exponentials of one split, natural; -infinity where no key is visible.
ISOBIT_HD inline float fused_log_sum(const SpecialTables& t, const FusedScale& scale,
                                     const FusedState& state, float sum) {
  if (!(sum > 0.0f)) return float_of(0xff800000u);
  return fma_(state.maximum, scale.scale, special_lg2(t, sum) * 0x1.62e43p-1f);
}

/// Logs of n splits become the splits' factors. REQUIRES: room for the next power of two of n.
ISOBIT_HD inline void fused_split_factors(const SpecialTables& t, int n, float* logs) {
  const float none = float_of(0xff800000u);
  float greatest = none;
  for (int i = 0; i < n; ++i) greatest = logs[i] > greatest ? logs[i] : greatest;
  if (greatest == none) greatest = 0.0f;
  float sums[kMostFusedSplits];
  int lanes = 1;
  while (lanes < n) lanes *= 2;
  for (int i = 0; i < lanes; ++i) {
    sums[i] = i < n ? cuda_exp(t, logs[i] - greatest) : 0.0f;
  }
  for (int half = lanes / 2; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) sums[i] = sums[i] + sums[i + half];
  }
  const float all = cuda_log(sums[0]) + greatest;
  for (int i = 0; i < n; ++i) logs[i] = cuda_exp(t, logs[i] - all);
}

/// Keys that a split of a plan owns.
struct FusedSpan {
  std::int64_t begin, end;
};
ISOBIT_HD constexpr FusedSpan fused_split(const FusedPlan& plan, std::int64_t keys, int split) {
  const std::int64_t length = plan.blocks_of_split * plan.order.block, begin = split * length;
  const std::int64_t end =
      split + 1 == plan.splits || begin + length > keys ? keys : begin + length;
  return {begin < end ? begin : end, end};
}

/// Rows of one sequence in one call, as the library sees them: columns of padding in front, then
/// the sequence's positions.
struct FusedSequence {
  std::int64_t first_row = 0, rows = 0;  // in the call's rows, ascending positions
  std::int64_t padding = 0;              // columns before position 0
  FusedPlan plan;
  FusedShape shape;
};

/// One query row over the keys of one split: the literal text. q(i), k(j, i) and v(j, i) give
/// numbers of `format`, seen(j) whether the row sees key j. out(i): O / sum in fp32.
template <class Q, class K, class V, class Seen, class Out>
inline float fused_split_row(const FusedPlan& plan, const TensorUnit& chip_unit,
                             const FusedScale& scale, const FusedSpan& span, std::int64_t d,
                             const Q& q, const K& k, const V& v, const Seen& seen, const Out& out) {
  const FusedOrder& order = plan.order;
  FusedState state;
  float p[kLargestFusedBlock], o[256] = {0};
  TensorUnit unit = chip_unit;
  unit.group = order.group;
  const std::int64_t blocks = fused_blocks(span.end - span.begin, order.block);
  for (std::int64_t b = 0; b < blocks; ++b) {
    const std::int64_t first = span.begin + (order.last_first ? blocks - 1 - b : b) * order.block;
    bool any = false;
    for (std::int64_t j = 0; j < order.block; ++j) {
      const std::int64_t key = first + j;
      p[j] = float_of(0xff800000u);
      if (key >= span.end || !seen(key)) continue;
      any = true;
      p[j] = fused_score(order, scale,
                         tensor_chain(
                             unit, q, [&](std::int64_t i) { return k(key, i); }, 0, d));
    }
    if (!any) continue;
    const float before = fused_block(kHopperTables, order, scale, state, p);
    for (std::int64_t j = 0; j < order.block; ++j) p[j] = round_to(unit.operand, p[j]);
    for (std::int64_t i = 0; i < d; ++i) {
      float c = o[i] * before;
      for (std::int64_t j = 0; j < order.block; j += unit.group) {
        c = tensor_group(
            unit, [&](int g) { return p[j + g]; },
            [&](int g) { return first + j + g < span.end ? v(first + j + g, i) : 0.0f; },
            unit.group, c);
      }
      o[i] = c;
    }
  }
  const float sum = fused_sum(order, state);
  const float inverse = fused_inverse(kHopperTables, order, sum);
  for (std::int64_t i = 0; i < d; ++i) out(i, o[i] * inverse);
  return fused_log_sum(kHopperTables, scale, state, sum);
}

/// One query row of a call, rounded to the unit's operand. REQUIRES: d <= 256.
template <class Q, class K, class V, class Seen>
inline void fused_row(const FusedPlan& plan, const TensorUnit& unit, const FusedScale& scale,
                      std::int64_t keys, std::int64_t d, const Q& q, const K& k, const V& v,
                      const Seen& seen, float* out) {
  if (plan.splits == 1) {
    fused_split_row(plan, unit, scale, {0, keys}, d, q, k, v, seen,
                    [&](std::int64_t i, float value) { out[i] = round_to(unit.operand, value); });
    return;
  }
  // The first pass has the logs, which decide the factors; the second the outputs.
  float logs[kMostFusedSplits];
  for (int s = 0; s < plan.splits; ++s) {
    logs[s] = fused_split_row(plan, unit, scale, fused_split(plan, keys, s), d, q, k, v, seen,
                              [](std::int64_t, float) {});
  }
  fused_split_factors(kHopperTables, plan.splits, logs);
  for (std::int64_t i = 0; i < d; ++i) out[i] = 0.0f;
  for (int s = 0; s < plan.splits; ++s) {
    fused_split_row(plan, unit, scale, fused_split(plan, keys, s), d, q, k, v, seen,
                    [&](std::int64_t i, float value) { out[i] = fma_(logs[s], value, out[i]); });
  }
  for (std::int64_t i = 0; i < d; ++i) out[i] = round_to(unit.operand, out[i]);
}

}  // namespace isobit
