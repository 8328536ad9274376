// Sums of squares in ascending order.
#include "harness/judge/pair_rows.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "runtime/base/result.h"

namespace isobit {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr std::size_t kOneOf = 20;  // 5 % of the errors

bool has_nan(std::span<const double> row) {
  return std::any_of(row.begin(), row.end(), [](double x) { return std::isnan(x); });
}

}  // namespace

VectorDistance vector_distance(std::span<const double> a, std::span<const double> b) {
  ISOBIT_CHECK(a.size() == b.size());
  VectorDistance out;
  double aa = 0, bb = 0, dd = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double difference = a[i] - b[i];
    aa += a[i] * a[i];
    bb += b[i] * b[i];
    dd += difference * difference;
    out.max_abs = std::max(out.max_abs, std::abs(difference));
  }
  if (!std::isfinite(aa) || !std::isfinite(bb) || !std::isfinite(dd)) {
    return {kInfinity, kInfinity, kInfinity, kInfinity, kInfinity, kInfinity};
  }
  out.norm_a = std::sqrt(aa);
  out.norm_b = std::sqrt(bb);
  out.distance = std::sqrt(dd);
  out.magnitude = (out.norm_a - out.norm_b) * (out.norm_a - out.norm_b);
  // 2 |a| |b| (1 - cos) = |a - b|^2 - (|a| - |b|)^2, which loses nothing where a and b are close
  // and is exactly 0 where they are equal.
  out.direction = std::max(0.0, dd - out.magnitude);
  return out;
}

void add_row(const VectorDistance& row, LayerSum& sum) {
  ++sum.rows;
  sum.distance += row.distance;
  sum.norm += row.norm_a;
  sum.max_abs = std::max(sum.max_abs, row.max_abs);
  sum.squares += row.norm_a * row.norm_a;
  sum.magnitude += row.magnitude;
  sum.direction += row.direction;
}

void VectorErrors::add(std::span<const double> a, std::span<const double> b, std::int64_t head_dim,
                       LayerSum& sum) {
  ISOBIT_CHECK(head_dim > 0 && a.size() == b.size() && a.size() % std::size_t(head_dim) == 0);
  for (std::size_t at = 0; at < a.size(); at += std::size_t(head_dim)) {
    const auto x = a.subspan(at, std::size_t(head_dim)), y = b.subspan(at, std::size_t(head_dim));
    if (has_nan(x) || has_nan(y)) {
      ++sum.evicted;
      continue;
    }
    const VectorDistance row = vector_distance(x, y);
    add_row(row, sum);
    errors_.push_back(row.magnitude + row.direction);
  }
}

double VectorErrors::largest_share() const {
  std::vector<double> sorted = errors_;
  std::sort(sorted.begin(), sorted.end(), std::greater<>());
  const std::size_t most = (sorted.size() + kOneOf - 1) / kOneOf;
  double total = 0, largest = 0;
  for (std::size_t i = 0; i < sorted.size(); ++i) {
    total += sorted[i];
    if (i + 1 == most) largest = total;
  }
  return total > 0 ? largest / total : 0;
}

}  // namespace isobit
