// Distances of two logits rows and bounds of rates (compare.h).
//
// Explanations only: they never decide a verdict. fp64 throughout, ascending index order; libm's
// exp, log and sqrt are used here (the harness is not numerics, and these values enter no digest).
#include <bit>
#include <cmath>
#include <limits>

#include "harness/judge/compare.h"
#include "runtime/numerics/order.h"

namespace isobit {
namespace {

template <class T>
struct Bits;
template <>
struct Bits<float> {
  using Unsigned = std::uint32_t;
};
template <>
struct Bits<double> {
  using Unsigned = std::uint64_t;
};

/// Bit patterns in the order of their values: -inf … -0, +0 … +inf, adjacent values one apart.
template <class T>
typename Bits<T>::Unsigned ordered(T value) {
  using U = typename Bits<T>::Unsigned;
  const U bits = std::bit_cast<U>(value);
  constexpr U kSign = U{1} << (8 * sizeof(U) - 1);
  return (bits & kSign) != 0 ? ~bits : bits | kSign;
}

template <class T>
std::uint64_t ulp_distance(T a, T b) {
  const auto x = ordered(a);
  const auto y = ordered(b);
  return x > y ? x - y : y - x;
}

/// Largest and second largest value; ties give the lowest index; a NaN wins and gives margin NaN.
template <class T>
void top_two(std::span<const T> row, std::int32_t& argmax, double& margin) {
  argmax = -1;
  margin = 0;
  double first = -std::numeric_limits<double>::infinity();
  double second = first;
  for (std::size_t i = 0; i < row.size(); ++i) {
    const double value = static_cast<double>(row[i]);
    if (std::isnan(value)) {
      argmax = static_cast<std::int32_t>(i);
      margin = std::numeric_limits<double>::quiet_NaN();
      return;
    }
    if (argmax < 0 || value > first) {
      second = argmax < 0 ? second : first;
      first = value;
      argmax = static_cast<std::int32_t>(i);
    } else if (value > second) {
      second = value;
    }
  }
  if (row.size() > 1) margin = first == second ? 0 : first - second;
}

struct Softmax {
  double max = 0, log_sum = 0;
  bool defined = false;  // no NaN, no +inf, some finite value
};

template <class T>
Softmax softmax_of(std::span<const T> row) {
  Softmax out;
  out.max = -std::numeric_limits<double>::infinity();
  for (const T value : row) {
    if (std::isnan(value)) return out;
    out.max = std::max(out.max, static_cast<double>(value));
  }
  if (!std::isfinite(out.max)) return out;
  double sum = 0;
  for (const T value : row) sum += std::exp(static_cast<double>(value) - out.max);
  out.log_sum = std::log(sum);
  out.defined = true;
  return out;
}

/// log((1 + e^d) / 2): exactly 0 at 0, accurate near it, and no overflow.
double log_mean_with_one(double d) {
  return d > 0 ? d + std::log1p(0.5 * std::expm1(-d)) : std::log1p(0.5 * std::expm1(d));
}

/// What an element adds to KL, with q - p, whose sum is 0, added to p (log p - log q): the same sum
/// without its cancellation, which would leave 1e-16 of a divergence of fp32's size. Never negative
/// but by its own rounding. `d` = log q - log p.
double kl_term(double p, double q, double d) {
  if (p <= 0) return q;
  return std::abs(d) < 1 ? p * (std::expm1(d) - d) : (q - p) - p * d;
}

/// KL, JS and total variation of the two softmax distributions.
template <class T>
void divergences(std::span<const T> a, std::span<const T> b, RowDistance& out) {
  const Softmax sa = softmax_of(a);
  const Softmax sb = softmax_of(b);
  if (!sa.defined || !sb.defined) {
    out.kl = std::numeric_limits<double>::infinity();
    out.js = std::log(2.0);
    out.total_variation = 1;
    return;
  }
  double kl = 0, js = 0, variation = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double log_p = static_cast<double>(a[i]) - sa.max - sa.log_sum;
    const double log_q = static_cast<double>(b[i]) - sb.max - sb.log_sum;
    const double p = std::exp(log_p);
    const double q = std::exp(log_q);
    // log p - log of the mean of p and q, without what cancels: equal p and q give exactly 0.
    kl += kl_term(p, q, log_q - log_p);
    if (p > 0) js -= 0.5 * p * log_mean_with_one(log_q - log_p);
    if (q > 0) js -= 0.5 * q * log_mean_with_one(log_p - log_q);
    variation += std::abs(p - q);
  }
  // Rounding may leave a tiny negative number where the true value is about zero.
  out.kl = std::max(kl, 0.0);
  out.js = std::max(js, 0.0);
  out.total_variation = 0.5 * variation;
}

int segment_of(std::int64_t element, std::int64_t n) {
  if (element < 0) return -1;
  for (int s = 0; s < kDigestSegments; ++s) {
    if (element < segment_begin(n, s + 1, kDigestSegments)) return s;
  }
  return -1;
}

template <class T>
RowDistance distance_of(std::span<const T> a, std::span<const T> b, bool always) {
  ISOBIT_CHECK(a.size() == b.size());
  using U = typename Bits<T>::Unsigned;
  RowDistance out;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (std::bit_cast<U>(a[i]) == std::bit_cast<U>(b[i])) continue;
    if (out.differing++ == 0) out.first_element = static_cast<std::int64_t>(i);
    double distance = std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i]));
    if (std::isnan(distance)) distance = std::numeric_limits<double>::infinity();
    out.mean_abs += distance;
    out.max_abs = std::max(out.max_abs, distance);
    out.max_ulp = std::max(out.max_ulp, ulp_distance(a[i], b[i]));
  }
  top_two(a, out.argmax_a, out.margin_a);
  top_two(b, out.argmax_b, out.margin_b);
  if (!a.empty()) out.mean_abs /= static_cast<double>(a.size());
  if (out.differing == 0 && !always) return out;
  out.first_segment = segment_of(out.first_element, static_cast<std::int64_t>(a.size()));
  divergences(a, b, out);
  return out;
}

}  // namespace

RowDistance row_distance(std::span<const float> a, std::span<const float> b) {
  return distance_of(a, b, false);
}
RowDistance row_distance(std::span<const double> a, std::span<const double> b) {
  return distance_of(a, b, false);
}
RowDistance value_distance(std::span<const float> a, std::span<const float> b) {
  return distance_of(a, b, true);
}
RowDistance value_distance(std::span<const double> a, std::span<const double> b) {
  return distance_of(a, b, true);
}

Severity severity_of(const RowDistance& distance) {
  if (distance.differing == 0) return Severity::none;
  if (distance.argmax_a != distance.argmax_b) return Severity::flipped;
  const double reach = 2 * distance.max_abs;
  const bool safe = distance.margin_a > reach && distance.margin_b > reach;  // false for NaN
  return safe ? Severity::bits_only : Severity::near_tie;
}

double rate_upper_bound(std::int64_t events, std::int64_t trials) {
  ISOBIT_CHECK(events >= 0 && events <= std::max<std::int64_t>(trials, 0));
  if (trials <= 0) return 1;
  const double n = static_cast<double>(trials);
  if (events == 0) return seen_fault_rate(trials);
  if (events == trials) return 1;
  constexpr double kZ = 1.6448536269514722;  // one-sided 95 %, as without events
  const double p = static_cast<double>(events) / n;
  const double z2 = kZ * kZ;
  const double centre = p + z2 / (2 * n);
  const double half = kZ * std::sqrt(p * (1 - p) / n + z2 / (4 * n * n));
  return std::min(1.0, (centre + half) / (1 + z2 / n));
}

}  // namespace isobit
