// The backward pass of causal attention over one head, in one fixed order (FlashAttention-2, arXiv
// 2307.08691, algorithm 2): every sum is one FMA chain over ascending indices from +0.
//
// P is made again from the log-sum-exp of the forward pass. delta, what dP is reduced by, comes
// from the output, rounded or not, or from P and dP, which is equal in exact arithmetic: the forms
// that Qiu & Yao (arXiv 2510.04212, section 3) compare. T is float, or double. Host and device.
#pragma once

#include "runtime/numerics/formats.h"
#include "runtime/numerics/functions.h"

namespace isobit {

/// delta of one query row.
enum class DeltaForm : std::uint8_t {
  output,  // rowsum(dO * O)
  terms    // rowsum(dP * P)
};

/// One head: rows are positions, query i sees keys 0 to i.
template <class T>
struct AttentionHead {
  std::int64_t rows = 0;
  std::int64_t d = 0;
  T scale = T(1);
  const T *q = nullptr, *k = nullptr, *v = nullptr;  // (rows, d)
  const T* d_out = nullptr;                          // (rows, d)
  const T* out = nullptr;                            // (rows, d), of the forward pass
  const T* lse = nullptr;                            // (rows), of the scaled scores
};

/// (d) times (d): a chain over ascending channels.
template <class T>
ISOBIT_HD inline T row_product(const T* a, const T* b, std::int64_t d) {
  T sum = T(0);
  for (std::int64_t i = 0; i < d; ++i) sum = fma_(a[i], b[i], sum);
  return sum;
}

/// rowsum(dO * O) with O rounded to a format first; f32 leaves it as it is.
template <class T>
ISOBIT_HD inline T delta_of_output(const T* d_out, const T* out, std::int64_t d, Format rounded) {
  T sum = T(0);
  for (std::int64_t i = 0; i < d; ++i) sum = fma_(d_out[i], T(round_to(rounded, out[i])), sum);
  return sum;
}

/// P and dP of query i and key j.
template <class T>
ISOBIT_HD inline T attention_probability(const AttentionHead<T>& h, std::int64_t i,
                                         std::int64_t j) {
  return exp_(row_product(h.q + i * h.d, h.k + j * h.d, h.d) * h.scale - h.lse[i]);
}
template <class T>
ISOBIT_HD inline T probability_gradient(const AttentionHead<T>& h, std::int64_t i, std::int64_t j) {
  return row_product(h.d_out + i * h.d, h.v + j * h.d, h.d);
}

/// rowsum(dP * P): a chain over ascending keys.
template <class T>
ISOBIT_HD inline T delta_of_terms(const AttentionHead<T>& h, std::int64_t i) {
  T sum = T(0);
  for (std::int64_t j = 0; j <= i; ++j) {
    sum = fma_(probability_gradient(h, i, j), attention_probability(h, i, j), sum);
  }
  return sum;
}

/// Gradients (rows, d) of q, k and v: dS = (P * (dP - delta)) * scale; dQ over ascending keys, dK
/// and dV over ascending queries. `rounded`: of O, for DeltaForm::output.
template <class T>
ISOBIT_HD inline void attention_backward(const AttentionHead<T>& h, DeltaForm form, Format rounded,
                                         T* dq, T* dk, T* dv) {
  for (std::int64_t i = 0; i < h.rows * h.d; ++i) dq[i] = dk[i] = dv[i] = T(0);
  for (std::int64_t i = 0; i < h.rows; ++i) {
    const T* d_out = h.d_out + i * h.d;
    const T delta = form == DeltaForm::terms
                        ? delta_of_terms(h, i)
                        : delta_of_output(d_out, h.out + i * h.d, h.d, rounded);
    for (std::int64_t j = 0; j <= i; ++j) {
      const T p = attention_probability(h, i, j);
      const T ds = (p * (probability_gradient(h, i, j) - delta)) * h.scale;
      for (std::int64_t c = 0; c < h.d; ++c) {
        dq[i * h.d + c] = fma_(ds, h.k[j * h.d + c], dq[i * h.d + c]);
        dk[j * h.d + c] = fma_(ds, h.q[i * h.d + c], dk[j * h.d + c]);
        dv[j * h.d + c] = fma_(p, d_out[c], dv[j * h.d + c]);
      }
    }
  }
}

}  // namespace isobit
