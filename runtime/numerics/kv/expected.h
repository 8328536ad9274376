// The weights that queries to come are expected to give to keys, were they normally distributed as
// the prompt's are, in fp64 (NUMERICS.md, "expected_attention"). Callers: policies/.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "runtime/numerics/functions.h"
#include "runtime/numerics/kv/products.h"

namespace isobit {

/// Sums over queries of d channels: (d) of each channel, then (d, d + 1) / 2 of the products of
/// channels i <= j, row by row.
inline std::int64_t moments_size(std::int64_t d) {
  return d + d * (d + 1) / 2;
}
inline void add_query(std::span<const double> query, std::span<double> moments) {
  const std::size_t d = query.size();
  double* product = moments.data() + d;
  for (std::size_t i = 0; i < d; ++i) {
    moments[i] = moments[i] + query[i];
    for (std::size_t j = i; j < d; ++j, ++product) *product = fma_(query[i], query[j], *product);
  }
}

/// Mean (d) and covariance (d, d) of queries.
struct QueryMoments {
  std::int64_t d = 0;
  std::vector<double> mean, covariance;

  QueryMoments(std::int64_t channels, std::span<const double> sums, std::int64_t queries)
      : d(channels), covariance(std::size_t(d * d)) {
    const double count = double(queries);
    for (std::int64_t i = 0; i < d; ++i) mean.push_back(sums[std::size_t(i)] / count);
    const double* product = sums.data() + d;
    for (std::int64_t i = 0; i < d; ++i) {
      for (std::int64_t j = i; j < d; ++j, ++product) {
        const double one = fma_(-mean[std::size_t(i)], mean[std::size_t(j)], *product / count);
        covariance[std::size_t(i * d + j)] = covariance[std::size_t(j * d + i)] = one;
      }
    }
  }

  /// The same of the queries turned by the mean of rotations: of pairs (i, i + pairs) by the means
  /// of their cosines and sines over the rows of `cosine` and `sine`, (rows, pairs).
  void turn(std::span<const double> cosine, std::span<const double> sine, std::int64_t pairs) {
    const std::int64_t rows = pairs == 0 ? 0 : std::int64_t(cosine.size()) / pairs;
    for (std::int64_t i = 0; i < pairs; ++i) {
      double c = 0.0, s = 0.0;
      for (std::int64_t r = 0; r < rows; ++r) {
        c = c + cosine[std::size_t(r * pairs + i)];
        s = s + sine[std::size_t(r * pairs + i)];
      }
      c = c / double(rows);
      s = s / double(rows);
      const auto turn_pair = [c, s](double& a, double& b) {
        const double x = a;
        a = c * x - s * b;
        b = c * b + s * x;
      };
      turn_pair(mean[std::size_t(i)], mean[std::size_t(i + pairs)]);
      for (std::int64_t j = 0; j < d; ++j) turn_pair(at(i, j), at(i + pairs, j));
      for (std::int64_t j = 0; j < d; ++j) turn_pair(at(j, i), at(j, i + pairs));
    }
  }

  /// key . mean / sqrt(d) + key . covariance . key / 2d: the logarithm of the expected exp(score).
  [[nodiscard]] double expected(std::span<const double> key, std::vector<double>& scratch) const {
    scratch.assign(std::size_t(d), 0.0);
    for (std::int64_t i = 0; i < d; ++i) {
      const double* const row = covariance.data() + i * d;
      for (std::int64_t j = 0; j < d; ++j) {
        scratch[std::size_t(j)] = fma_(key[std::size_t(i)], row[j], scratch[std::size_t(j)]);
      }
    }
    return dot(key, mean) / sqrt_(double(d)) + dot(key, scratch) / double(2 * d);
  }

 private:
  double& at(std::int64_t i, std::int64_t j) { return covariance[std::size_t(i * d + j)]; }
};

/// exp(x - max) / sum of them, ascending.
inline void softmax(std::span<double> x) {
  if (x.empty()) return;
  double most = x[0], sum = 0.0;
  for (const double value : x) most = max_nan(most, value);
  for (double& value : x) {
    value = exp_(value - most);
    sum = sum + value;
  }
  for (double& value : x) value = value / sum;
}

}  // namespace isobit
