#include "runtime/backends/cpu/packed.h"

#include <algorithm>
#include <cstdlib>
#include <new>

#include "runtime/numerics/formats.h"
#include "runtime/result.h"

namespace invar::cpu {
namespace {

constexpr std::size_t kAlignment = 64;

std::size_t element_bytes(Format element) {
  switch (element) {
    case Format::f64:
      return 8;
    case Format::f32:
      return 4;
    default:
      return 2;
  }
}

/// Zeroed, 64-byte aligned; one line more than asked, so that a whole register may be read.
std::shared_ptr<void> aligned_zeros(std::size_t bytes) {
  const std::size_t rounded = (bytes + 2 * kAlignment - 1) / kAlignment * kAlignment;
  void* data = std::aligned_alloc(kAlignment, rounded);
  if (data == nullptr) throw std::bad_alloc();
  std::memset(data, 0, rounded);
  return {data, std::free};
}

void store(Format element, void* data, std::size_t at, float value) {
  switch (element) {
    case Format::f64:
      static_cast<double*>(data)[at] = double(value);
      break;
    case Format::f32:
      static_cast<float*>(data)[at] = value;
      break;
    case Format::bf16:
      static_cast<std::uint16_t*>(data)[at] = bf16_from_float(value);
      break;
    default:
      static_cast<std::uint16_t*>(data)[at] = fp16_from_float(value);
      break;
  }
}

std::size_t index_of(const PackedMatrix& m, std::int64_t row, std::int64_t column) {
  return std::size_t(((row / kPanel) * m.k + column) * kPanel + row % kPanel);
}

void check(const PackSpec& spec) {
  INVAR_CHECK(spec.n >= 0 && spec.k >= 0);
  INVAR_CHECK(spec.scale.empty() || std::int64_t(spec.scale.size()) == spec.n);
  INVAR_CHECK(!spec.divide || spec.n == 0 || !spec.scale.empty());
  if (spec.bounds.empty()) return;
  INVAR_CHECK(spec.bounds.front() == 0 && spec.bounds.back() == spec.k);
  INVAR_CHECK(std::is_sorted(spec.bounds.begin(), spec.bounds.end()));
  const std::size_t segments = spec.bounds.size() - 1;
  INVAR_CHECK(segments <= 32 && (segments & (segments - 1)) == 0);
}

}  // namespace

Format element_of(Format rounded) {
  switch (rounded) {
    case Format::f64:
      return Format::f64;
    case Format::f32:
    case Format::tf32:
      return Format::f32;
    case Format::fp16:
      return Format::fp16;
    default:
      return Format::bf16;
  }
}

std::int64_t packed_elements(std::int64_t n, std::int64_t k) {
  return (n + kPanel - 1) / kPanel * kPanel * k;
}

PackedMatrix pack(const PackSpec& spec, const RowReader& read_row) {
  check(spec);
  PackedMatrix m;
  m.n = spec.n;
  m.k = spec.k;
  m.element = element_of(spec.rounded);
  m.bounds = spec.bounds;
  m.scale = spec.scale;
  m.data = aligned_zeros(std::size_t(packed_elements(m.n, m.k)) * element_bytes(m.element));
  std::vector<float> row(std::size_t(m.k));
  for (std::int64_t n = 0; n < m.n; ++n) {
    read_row(n, row);
    for (std::int64_t k = 0; k < m.k; ++k) {
      float value = row[std::size_t(k)];
      if (spec.divide) value = value / m.scale[std::size_t(n)];
      store(m.element, m.data.get(), index_of(m, n, k), round_to(spec.rounded, value));
    }
  }
  return m;
}

template <class T>
T PackedMatrix::at(std::int64_t row, std::int64_t column) const {
  const std::size_t i = index_of(*this, row, column);
  switch (element) {
    case Format::f64:
      return T(static_cast<const double*>(data.get())[i]);
    case Format::f32:
      return T(static_cast<const float*>(data.get())[i]);
    case Format::bf16:
      return T(float_from_bf16(static_cast<const std::uint16_t*>(data.get())[i]));
    default:
      return T(float_from_fp16(static_cast<const std::uint16_t*>(data.get())[i]));
  }
}
template float PackedMatrix::at<float>(std::int64_t, std::int64_t) const;
template double PackedMatrix::at<double>(std::int64_t, std::int64_t) const;

}  // namespace invar::cpu
