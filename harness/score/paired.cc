// The lower tail, summed from its largest term down.
#include "harness/score/paired.h"

#include <algorithm>
#include <cmath>

#include "runtime/base/result.h"

namespace isobit {
namespace {

/// A positive number as mantissa * 2^exponent: 2^-n is none of double's for large n.
struct Scaled {
  double mantissa = 1;
  std::int64_t exponent = 0;
  void multiply(double by) {
    int shift = 0;
    mantissa = std::frexp(mantissa * by, &shift);
    exponent += shift;
  }
  [[nodiscard]] double value() const {
    return exponent < -1100 ? 0.0 : std::ldexp(mantissa, int(exponent));
  }
};

}  // namespace

double binomial_half(std::int64_t k, std::int64_t n) {
  ISOBIT_CHECK(k >= 0 && k <= n);
  const std::int64_t least = std::min(k, n - k);
  if (2 * least >= n) return 1;
  Scaled term;  // C(n, least) / 2^n
  for (std::int64_t i = 1; i <= least; ++i) term.multiply(double(n - least + i) / double(i));
  term.exponent -= n;
  double sum = 0, ratio = 1;  // of the terms to the largest of them
  for (std::int64_t i = least; i >= 0 && ratio > 1e-20 * sum; --i) {
    sum += ratio;
    ratio *= double(i) / double(n - i + 1);
  }
  term.multiply(2 * sum);
  return std::min(1.0, term.value());
}

Discordant discordant(const std::vector<bool>& first, const std::vector<bool>& second) {
  ISOBIT_CHECK(first.size() == second.size());
  Discordant out;
  for (std::size_t i = 0; i < first.size(); ++i) {
    out.gained += !first[i] && second[i] ? 1 : 0;
    out.lost += first[i] && !second[i] ? 1 : 0;
  }
  return out;
}

double mcnemar_exact(const Discordant& pairs) {
  return binomial_half(pairs.gained, pairs.gained + pairs.lost);
}

double sign_test(std::int64_t better, std::int64_t worse) {
  return binomial_half(better, better + worse);
}

}  // namespace isobit
