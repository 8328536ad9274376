// Rows as doubles, and the one order of sums.
#include "runtime/run/log_sum.h"

#include <cstdint>
#include <cstring>
#include <vector>

#include "runtime/numerics/order.h"

namespace isobit {
namespace {

template <class T>
std::vector<double> doubles_of(std::span<const std::byte> row) {
  std::vector<T> values(row.size() / sizeof(T));
  std::memcpy(values.data(), row.data(), values.size() * sizeof(T));
  return {values.begin(), values.end()};
}

}  // namespace

double row_log_sum(std::span<const std::byte> row, bool wide) {
  const std::vector<double> values = wide ? doubles_of<double>(row) : doubles_of<float>(row);
  return values.empty() ? 0.0 : log_sum_exp(values.data(), std::int64_t(values.size()));
}

}  // namespace isobit
