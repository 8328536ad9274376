// Which experts a token uses, and with what weights (NUMERICS.md, "Experts"). Host only.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "runtime/numerics/formats.h"
#include "runtime/numerics/functions.h"

namespace isobit {

struct Route {
  std::vector<std::int32_t> experts;  // ascending
  std::vector<double> weights;        // Reals of the stored format, one an expert
};

/// The `used` experts with the largest logits, the lower id among equals, a NaN below every other.
/// Their weights are exp(l - max) over the sum of these: of the experts used when they sum to one,
/// else of all, in ascending order from +0; R of the quotient. REQUIRES: 0 < used <= logits.
template <class T>
Route route(std::span<const T> logits, std::int64_t used, bool sum_to_one, Format stored) {
  Route out;
  for (std::size_t e = 0; e < logits.size(); ++e) out.experts.push_back(std::int32_t(e));
  const auto before = [&](std::int32_t a, std::int32_t b) {
    const T x = logits[std::size_t(a)], y = logits[std::size_t(b)];
    if (is_nan(x) || is_nan(y)) return is_nan(x) == is_nan(y) ? a < b : is_nan(y);
    return x != y ? x > y : a < b;
  };
  std::sort(out.experts.begin(), out.experts.end(), before);
  out.experts.resize(std::size_t(used));
  std::sort(out.experts.begin(), out.experts.end());
  T most = logits[0];
  for (const T x : logits) most = max_nan(most, x);
  std::vector<T> terms;
  for (const T x : logits) terms.push_back(exp_(x - most));
  T sum = T(0);
  if (sum_to_one) {
    for (const std::int32_t e : out.experts) sum = sum + terms[std::size_t(e)];
  } else {
    for (const T term : terms) sum = sum + term;
  }
  for (const std::int32_t e : out.experts) {
    out.weights.push_back(double(round_to(stored, terms[std::size_t(e)] / sum)));
  }
  return out;
}

}  // namespace isobit
