// Attention as fused kernels make it: key blocks with one running maximum and one rescaling a
// block, P rounded before PV, key splits that are combined by their log-sum-exp (NUMERICS.md,
// "Emulated schedules"; FlashAttention-2, arXiv 2307.08691, algorithm 1). The published mitigation
// of its biased rounding is Qiu & Yao, arXiv 2510.04212, section 4.
//
// The literal text, as order.h is for the reference's own order; T is float, or double in fp64.
// Host and device.
#pragma once

#include "runtime/numerics/order.h"
#include "runtime/numerics/schedule.h"

namespace isobit {

constexpr int kLargestFlashBlock = 256;
constexpr int kMostFlashSplits = 64;
constexpr double kLooseDistance = 1e-3;  // of maxima that count as equal, the repository's form
constexpr double kLeastLooseSum = 1e-10;

/// A FlashSchedule's numbers, for one call: what host and device compute with.
struct FlashRule {
  std::int32_t block = 64;
  std::int32_t splits = 1;
  std::int64_t call_blocks = 0;  // blocks of a split, the same for all rows; 0: by each row itself
  Format p = Format::f32;
  double beta = 0;  // 0: no mitigation
  bool loose = false;
  std::int32_t* acted = nullptr;  // set to 1 where the mitigation acts

  /// Key blocks that one split of a query at this position owns; split s has blocks
  /// [s * n, (s + 1) * n), counted from position 0.
  [[nodiscard]] ISOBIT_HD std::int64_t blocks_of_split(std::int64_t position) const {
    return call_blocks > 0 ? call_blocks : (position / block + splits) / splits;
  }
};

/// Whether a score counts as a maximum: it equals the block's, or is within 1e-3 of it.
template <class T>
ISOBIT_HD inline bool is_flash_maximum(const FlashRule& rule, T score, T r) {
  return rule.loose ? score >= r - T(kLooseDistance) : score == r;
}

/// The maximum that a block brings, after the mitigation: beta * r or 0 where r stands there more
/// than once, so that no P is 1. The running maximum takes this one (the paper's algorithm prints
/// the raw r there, an erratum: P would be 1 again).
template <class T>
ISOBIT_HD inline T flash_maximum(const FlashRule& rule, T r, int maxima) {
  if (rule.beta == 0.0 || maxima < 2 || !(r > T(0) || r < T(0))) return r;
  if (rule.acted != nullptr) *rule.acted = 1;
  return r > T(0) ? T(rule.beta) * r : T(0);
}

/// A block's sum as it joins: the repository's form lets none be below 1e-10.
template <class T>
ISOBIT_HD inline T flash_block_sum(const FlashRule& rule, T sum) {
  return rule.loose && rule.beta != 0.0 && sum < T(kLeastLooseSum) ? T(kLeastLooseSum) : sum;
}

/// Running maximum and sum of one query head over its key blocks.
template <class T>
struct FlashState {
  T m = T(0), l = T(0), a = T(1);  // a: what the outputs so far are multiplied by
  bool started = false;

  /// The next block's maximum; its P are exp(score - m) afterwards.
  ISOBIT_HD void raise(T block_m) {
    if (!started) {
      m = block_m;
      return;
    }
    const T raised = max_nan(m, block_m);
    a = exp_(m - raised);
    m = raised;
  }
  /// The same block's sum. `started` stays, so that the outputs can follow.
  ISOBIT_HD void add(T block_l) { l = started ? fma_(l, a, block_l) : block_l; }
};

/// Scores of the visible positions of [begin, end] by their offset in the block, the maximum that
/// the block brings; false when none is visible.
template <class T, class Visible, class Key>
ISOBIT_HD inline bool flash_scores(const FlashRule& rule, const T* q, int d, T scale, T cap,
                                   std::int64_t begin, std::int64_t end, const Visible& visible,
                                   const Key& key, T* p, T& m) {
  bool any = false;
  T r = T(0);
  for (std::int64_t j = begin; j <= end; ++j) {
    if (!visible(j)) continue;
    T score = T(0);
    for (int i = 0; i < d; ++i) score = fma_(q[i], key(j, i), score);
    score = score * scale;
    if (cap != T(0)) score = softcapped(score, cap);
    r = any ? max_nan(r, score) : score;
    p[j % rule.block] = score;
    any = true;
  }
  int maxima = 0;
  for (std::int64_t j = begin; any && j <= end; ++j) {
    if (visible(j) && is_flash_maximum(rule, p[j % rule.block], r)) ++maxima;
  }
  m = flash_maximum(rule, r, maxima);
  return any;
}

/// Turns a block's scores into P = exp(score - m), rounded; gives the sum of P before its rounding,
/// in 32 lanes by absolute position, and the lane tree.
template <class T, class Visible>
ISOBIT_HD inline T flash_terms(const FlashRule& rule, std::int64_t begin, std::int64_t end,
                               const Visible& visible, T m, T* p) {
  T lane[kSumLanes];
  for (int i = 0; i < kSumLanes; ++i) lane[i] = T(0);
  for (std::int64_t j = begin; j <= end; ++j) {
    if (!visible(j)) continue;
    const T exact = exp_(p[j % rule.block] - m);
    lane[j % kSumLanes] = lane[j % kSumLanes] + exact;
    p[j % rule.block] = T(round_to(rule.p, exact));
  }
  return flash_block_sum(rule, lane_tree(lane, kSumLanes));
}

/// One split: positions [first, last] in blocks from first's on. o: (d), the sum of P V before the
/// division. False when no position is visible.
template <class T, class Visible, class Key, class Value>
ISOBIT_HD inline bool flash_split(const FlashRule& rule, const T* q, int d, T scale, T cap,
                                  std::int64_t first, std::int64_t last, const Visible& visible,
                                  const Key& key, const Value& value, FlashState<T>& state, T* o) {
  T p[kLargestFlashBlock];
  for (std::int64_t begin = first; begin <= last;) {
    const std::int64_t next = (begin / rule.block + 1) * rule.block;
    const std::int64_t end = next - 1 < last ? next - 1 : last;
    T m = T(0);
    if (flash_scores(rule, q, d, scale, cap, begin, end, visible, key, p, m)) {
      state.raise(m);
      state.add(flash_terms(rule, begin, end, visible, state.m, p));
      for (int i = 0; i < d; ++i) {
        T acc = state.started ? o[i] * state.a : T(0);
        for (std::int64_t j = begin; j <= end; ++j) {
          if (visible(j)) acc = fma_(p[j % rule.block], value(j, i), acc);
        }
        o[i] = acc;
      }
      state.started = true;
    }
    begin = next;
  }
  return state.started;
}

/// Log-sum-exp of a split: the logarithm in fp64, one rounding.
template <class T>
ISOBIT_HD inline T flash_lse(const FlashState<T>& state) {
  return canonical(T(double(state.m) + log_(double(state.l))));
}

/// What n > 1 splits' outputs are multiplied with: exp(lse - L), L their log-sum-exp over ascending
/// splits. In place.
template <class T>
ISOBIT_HD inline void flash_weights(T* lse, std::int64_t n) {
  T m = lse[0];
  for (std::int64_t s = 1; s < n; ++s) m = max_nan(m, lse[s]);
  T sum = T(0);
  for (std::int64_t s = 0; s < n; ++s) sum = sum + exp_(lse[s] - m);
  const T whole = T(double(m) + log_(double(sum)));
  for (std::int64_t s = 0; s < n; ++s) lse[s] = exp_(lse[s] - whole);
}

/// Attention of one query over positions [first, last] at which visible(position) holds, as
/// attention_row() of order.h is. parts: room for rule.splits times d.
template <class T, class Visible, class Key, class Value>
ISOBIT_HD inline void flash_row(const FlashRule& rule, const T* q, int d, T scale, T cap,
                                std::int64_t first, std::int64_t last, const Visible& visible,
                                const Key& key, const Value& value, Format stored, T* parts,
                                T* out) {
  const std::int64_t positions = rule.blocks_of_split(last) * rule.block;  // of one split
  T lse[kMostFlashSplits];
  std::int64_t n = 0;
  for (std::int64_t s = first / positions; s <= last / positions; ++s) {
    const std::int64_t begin = s * positions < first ? first : s * positions;
    const std::int64_t end = (s + 1) * positions - 1 < last ? (s + 1) * positions - 1 : last;
    FlashState<T> state;
    T* o = parts + n * d;
    if (!flash_split(rule, q, d, scale, cap, begin, end, visible, key, value, state, o)) continue;
    const T inverse = T(1) / state.l;
    for (int i = 0; i < d; ++i) o[i] = o[i] * inverse;
    lse[n++] = flash_lse(state);
  }
  if (n == 0) {  // nothing visible: 0 / 0
    for (int i = 0; i < d; ++i) out[i] = canonical_nan(T(0));
    return;
  }
  if (n > 1) flash_weights(lse, n);
  for (int i = 0; i < d; ++i) {
    T o = n > 1 ? T(0) : parts[i];
    for (std::int64_t s = 0; n > 1 && s < n; ++s) o = fma_(lse[s], parts[s * d + i], o);
    out[i] = T(round_to(stored, o + T(0)));
  }
}

}  // namespace isobit
