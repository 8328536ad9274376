// Rows as doubles, and the one order of sums.
#include "runtime/run/log_sum.h"

#include <cstdint>
#include <cstring>
#include <vector>

#include "runtime/numerics/order.h"
#include "runtime/trace.h"

namespace isobit {
namespace {

template <class T>
std::vector<double> doubles_of(std::span<const std::byte> row) {
  std::vector<T> values(row.size() / sizeof(T));
  std::memcpy(values.data(), row.data(), values.size() * sizeof(T));
  return {values.begin(), values.end()};
}

template <class T>
double logit_at(std::span<const std::byte> row, std::size_t at) {
  T value{};
  if (at >= row.size() / sizeof value) return kNotRecorded;
  std::memcpy(&value, row.data() + at * sizeof value, sizeof value);
  return double(value);
}

}  // namespace

double row_log_sum(std::span<const std::byte> row, bool wide) {
  const std::vector<double> values = wide ? doubles_of<double>(row) : doubles_of<float>(row);
  return values.empty() ? 0.0 : log_sum_exp(values.data(), std::int64_t(values.size()));
}

double row_logit(std::span<const std::byte> row, bool wide, std::int32_t id) {
  if (id < 0) return kNotRecorded;
  return wide ? logit_at<double>(row, std::size_t(id)) : logit_at<float>(row, std::size_t(id));
}

}  // namespace isobit
