// The order of every reduction of family F, one loop a rule: the literal text that every fast path
// must equal bit for bit (NUMERICS.md, section 2). T is float, or double in fp64.
//
// Written for reading against the page, not for speed. Host and device.
#pragma once

#include "runtime/numerics/activation.h"
#include "runtime/numerics/digest.h"
#include "runtime/numerics/formats.h"

namespace isobit {

constexpr int kSplit = 256;    // keys of one attention split, at absolute positions
constexpr int kLanes = 256;    // lanes of a row reduction
constexpr int kSumLanes = 32;  // lanes of an attention split's sum

/// Segment s of n elements is [segment_begin(n, s, V), segment_begin(n, s + 1, V)).
ISOBIT_HD constexpr std::int64_t segment_begin(std::int64_t n, std::int64_t s,
                                               std::int64_t segments) {
  return n * s / segments;
}

/// V of a reduction of length k: the model's segments, or 1 below 64.
ISOBIT_HD inline int segments_of(std::int64_t k, int model_segments) {
  return k < 64 ? 1 : model_segments;
}

/// One segment of a dot product: an FMA chain over ascending k from +0.
template <class T, class A, class B>
ISOBIT_HD inline T dot_chain(const A& a, const B& b, std::int64_t begin, std::int64_t end) {
  T acc = T(0);
  for (std::int64_t k = begin; k < end; ++k) acc = fma_(T(a(k)), T(b(k)), acc);
  return acc;
}

/// Pairs neighbours until one is left: ((s0+s1)+(s2+s3))+((s4+s5)+(s6+s7)). n is a power of two.
template <class T>
ISOBIT_HD inline T neighbour_tree(T* s, int n) {
  for (int m = n; m > 1; m /= 2) {
    for (int i = 0; i < m / 2; ++i) s[i] = s[2 * i] + s[2 * i + 1];
  }
  return s[0];
}

/// Adds the upper half onto the lower until one lane is left. n is a power of two.
template <class T>
ISOBIT_HD inline T lane_tree(T* lane, int n) {
  for (int h = n / 2; h >= 1; h /= 2) {
    for (int i = 0; i < h; ++i) lane[i] = lane[i] + lane[i + h];
  }
  return lane[0];
}

/// Sum of squares of a row in 256 lanes.
template <class T>
ISOBIT_HD inline T sum_of_squares(const T* x, std::int64_t d) {
  T lane[kLanes];
  for (int j = 0; j < kLanes; ++j) lane[j] = T(0);
  for (std::int64_t i = 0; i < d; ++i) lane[i % kLanes] = fma_(x[i], x[i], lane[i % kLanes]);
  return lane_tree(lane, kLanes);
}

/// y = R((x * r) * w), r = 1 / sqrt(mean of squares + eps).
template <class T>
ISOBIT_HD inline void rms_norm_row(const T* x, const T* w, T eps, std::int64_t d, Format stored,
                                   T* y) {
  const T r = T(1) / sqrt_(sum_of_squares(x, d) / T(d) + eps);
  for (std::int64_t i = 0; i < d; ++i) y[i] = T(round_to(stored, (x[i] * r) * w[i]));
}

/// y = R(((x - mean) * r) * w + b), r = 1 / sqrt(mean of the differences' squares + eps).
template <class T>
ISOBIT_HD inline void layer_norm_row(const T* x, const T* w, const T* b, T eps, std::int64_t d,
                                     Format stored, T* y) {
  T lane[kLanes];
  for (int j = 0; j < kLanes; ++j) lane[j] = T(0);
  for (std::int64_t i = 0; i < d; ++i) lane[i % kLanes] = lane[i % kLanes] + x[i];
  const T mean = lane_tree(lane, kLanes) / T(d);
  for (int j = 0; j < kLanes; ++j) lane[j] = T(0);
  for (std::int64_t i = 0; i < d; ++i) {
    const T c = x[i] - mean;
    lane[i % kLanes] = fma_(c, c, lane[i % kLanes]);
  }
  const T r = T(1) / sqrt_(lane_tree(lane, kLanes) / T(d) + eps);
  for (std::int64_t i = 0; i < d; ++i) {
    y[i] = T(round_to(stored, ((x[i] - mean) * r) * w[i] + b[i]));
  }
}

/// Rotates the first d elements of a head in Hugging Face's half-split layout, then R. `cosine` and
/// `sine` are the table's row of the position: (d/2).
template <class T>
ISOBIT_HD inline void rope_head(T* x, const T* cosine, const T* sine, int d, Format stored) {
  for (int i = 0; i < d / 2; ++i) {
    const T x0 = x[i], x1 = x[i + d / 2];
    x[i] = T(round_to(stored, fma_(x0, cosine[i], -(x1 * sine[i]))));
    x[i + d / 2] = T(round_to(stored, fma_(x1, cosine[i], x0 * sine[i])));
  }
}

/// Scores of the visible positions of [begin, end] into p, by their offset in the split, and the
/// greatest of them; false when none is visible. cap: the soft cap of scores, 0 for none.
template <class T, class Visible, class Key>
ISOBIT_HD inline bool split_scores(const T* q, int d, T scale, T cap, std::int64_t begin,
                                   std::int64_t end, const Visible& visible, const Key& key, T* p,
                                   T& m) {
  bool any = false;
  for (std::int64_t j = begin; j <= end; ++j) {
    if (!visible(j)) continue;
    T score = T(0);
    for (int i = 0; i < d; ++i) score = fma_(q[i], key(j, i), score);
    score = score * scale;
    if (cap != T(0)) score = softcapped(score, cap);
    m = any ? max_nan(m, score) : score;
    p[j % kSplit] = score;
    any = true;
  }
  return any;
}

/// Turns a split's scores into p = exp(score - m); gives their sum.
template <class T, class Visible>
ISOBIT_HD inline T split_terms(std::int64_t begin, std::int64_t end, const Visible& visible, T m,
                               T* p) {
  T lane[kSumLanes];
  for (int i = 0; i < kSumLanes; ++i) lane[i] = T(0);
  for (std::int64_t j = begin; j <= end; ++j) {
    if (!visible(j)) continue;
    p[j % kSplit] = exp_(p[j % kSplit] - m);
    lane[j % kSumLanes] = lane[j % kSumLanes] + p[j % kSplit];
  }
  return lane_tree(lane, kSumLanes);
}

/// Running state of attention over splits: maximum and sum of one head, and the factors with which
/// the old and the new outputs enter the latest merge.
template <class T>
struct AttentionState {
  T m = T(0), l = T(0), a = T(1), b = T(1);
  bool started = false;

  /// The next split joins. `started` stays, so that the outputs can follow.
  ISOBIT_HD void merge(T split_m, T split_l) {
    if (!started) {
      m = split_m;
      l = split_l;
      return;
    }
    const T merged = max_nan(m, split_m);
    a = exp_(m - merged);
    b = exp_(split_m - merged);
    l = fma_(l, a, split_l * b);
    m = merged;
  }
};

/// Attention of one query over positions [first, last] at which visible(position) holds.
/// key(position, i), value(position, i) read K and V; a position that is not visible is never read.
/// out: (d). Splits are at absolute positions 0, 256, …; an empty split does not exist; a query
/// that sees nothing gives NaN.
template <class T, class Visible, class Key, class Value>
ISOBIT_HD inline void attention_row(const T* q, int d, T scale, T cap, std::int64_t first,
                                    std::int64_t last, const Visible& visible, const Key& key,
                                    const Value& value, Format stored, T* out) {
  AttentionState<T> state;
  for (std::int64_t split = first / kSplit; split <= last / kSplit; ++split) {
    const std::int64_t begin = split * kSplit < first ? first : split * kSplit;
    const std::int64_t end =
        split * kSplit + kSplit - 1 < last ? split * kSplit + kSplit - 1 : last;
    T p[kSplit];
    T m = T(0);
    if (!split_scores(q, d, scale, cap, begin, end, visible, key, p, m)) continue;
    state.merge(m, split_terms(begin, end, visible, m, p));
    for (int i = 0; i < d; ++i) {
      T o = T(0);
      for (std::int64_t j = begin; j <= end; ++j) {
        if (visible(j)) o = fma_(p[j % kSplit], value(j, i), o);
      }
      out[i] = state.started ? fma_(out[i], state.a, o * state.b) : o;
    }
    state.started = true;
  }
  if (!state.started) {  // nothing visible: 0 / 0
    for (int i = 0; i < d; ++i) out[i] = canonical_nan(T(0));
    return;
  }
  const T inverse = T(1) / state.l;
  for (int i = 0; i < d; ++i) out[i] = T(round_to(stored, out[i] * inverse + T(0)));
}

/// What a query gave to a position: its score seen from the final maximum and sum of attention.
template <class T>
ISOBIT_HD inline T attention_weight(T score, const AttentionState<T>& state) {
  return canonical(exp_(score - state.m) * (T(1) / state.l));
}

/// Log-sum-exp of a row: order-free maximum; eight segments of 256 lanes each; the neighbour tree;
/// max + log(sum) in fp64, rounded to T.
template <class T>
ISOBIT_HD inline T log_sum_exp(const T* x, std::int64_t n) {
  T m = x[0];
  for (std::int64_t i = 1; i < n; ++i) m = max_nan(m, x[i]);
  T part[8];
  for (int s = 0; s < 8; ++s) {
    const std::int64_t begin = segment_begin(n, s, 8), end = segment_begin(n, s + 1, 8);
    T lane[kLanes];
    for (int j = 0; j < kLanes; ++j) lane[j] = T(0);
    for (std::int64_t i = begin; i < end; ++i) {
      lane[(i - begin) % kLanes] = lane[(i - begin) % kLanes] + exp_(x[i] - m);
    }
    part[s] = lane_tree(lane, kLanes);
  }
  return canonical(T(double(m) + log_(double(neighbour_tree(part, 8)))));
}

}  // namespace isobit
