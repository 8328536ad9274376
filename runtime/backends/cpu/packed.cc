// A panel at a time: its 32 rows are read and rounded in cache, then written once, transposed in
// tiles of 8 rows by 8 columns. The tiles only move values; every rounding is numerics' own.

#include "runtime/backends/cpu/packed.h"

#ifdef __F16C__
#include <immintrin.h>
#endif
#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <new>

#include "runtime/backends/cpu/packed_blocks.h"
#include "runtime/base/result.h"
#include "runtime/numerics/formats.h"

namespace isobit::cpu {
namespace {

constexpr std::size_t kAlignment = 64;
constexpr int kTile = 8;           // rows and columns moved at once
constexpr std::int64_t kRun = 16;  // elements of a loop of fixed length, which compilers vectorise

using Float8 = float __attribute__((vector_size(32)));
using Short8 = std::uint16_t __attribute__((vector_size(16)));

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

std::size_t index_of(const PackedMatrix& m, std::int64_t row, std::int64_t column) {
  return std::size_t(((row / kPanel) * m.k + column) * kPanel + row % kPanel);
}

void check(const PackSpec& spec) {
  ISOBIT_CHECK(spec.n >= 0 && spec.k >= 0);
  ISOBIT_CHECK(spec.scale.empty() || std::int64_t(spec.scale.size()) == spec.n);
  ISOBIT_CHECK(!spec.divide || spec.n == 0 || !spec.scale.empty());
  if (spec.bounds.empty()) return;
  ISOBIT_CHECK(spec.bounds.front() == 0 && spec.bounds.back() == spec.k);
  ISOBIT_CHECK(std::is_sorted(spec.bounds.begin(), spec.bounds.end()));
  const std::size_t segments = spec.bounds.size() - 1;
  ISOBIT_CHECK(segments <= 32 && (segments & (segments - 1)) == 0);
}

/// Distance between the rows of the scratch: whole runs, and never a multiple of 4 KiB, at which
/// 32 rows would fall into the same few lines of the cache.
std::int64_t row_stride(std::int64_t k) {
  const std::int64_t stride = (k + kRun - 1) / kRun * kRun + kRun;
  return stride % 1024 == 0 ? stride + kRun : stride;
}

/// Replaces each of a row's first k values; what lies between k and the end of its run is free.
template <class F>
void each_value(float* row, std::int64_t k, F&& f) {
  for (std::int64_t i = 0; i < k; i += kRun) {
    for (std::int64_t j = 0; j < kRun; ++j) row[i + j] = f(row[i + j]);
  }
}

/// Narrows a row in place, rounding: 16-bit element i is at the row's i-th 16-bit place.
template <std::uint16_t (*kNarrow)(float)>
void narrow_row(float* row, std::int64_t k) {
  for (std::int64_t i = 0; i < k; i += kRun) {
    std::array<std::uint16_t, kRun> run;
    for (std::size_t j = 0; j < run.size(); ++j) run[j] = kNarrow(row[i + std::int64_t(j)]);
    std::memcpy(reinterpret_cast<char*>(row) + i * 2, run.data(), sizeof(run));
  }
}

/// The same to fp16, by the conversion instruction where there is one (equal to the integer code
/// for every fp32 number but NaN, tests/conformance).
void narrow_row_fp16(float* row, std::int64_t k) {
#ifdef __F16C__
  for (std::int64_t i = 0; i < k; i += kTile) {
    std::array<float, kTile> run;
    for (std::size_t j = 0; j < run.size(); ++j) run[j] = canonical(row[i + std::int64_t(j)]);
    const __m128i half = _mm256_cvtps_ph(_mm256_loadu_ps(run.data()), _MM_FROUND_TO_NEAREST_INT);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(reinterpret_cast<char*>(row) + i * 2), half);
  }
#else
  narrow_row<fp16_from_float>(row, k);
#endif
}

/// R, in place: into 32-bit elements, or 16-bit ones packed to the row's begin.
void round_row(Format rounded, float* row, std::int64_t k) {
  switch (rounded) {
    case Format::bf16:
      return narrow_row<bf16_from_float>(row, k);
    case Format::fp16:
      return narrow_row_fp16(row, k);
    case Format::tf32:
      return each_value(row, k, [](float x) { return round_to(Format::tf32, x); });
    case Format::e4m3:
      each_value(row, k, [](float x) { return round_to(Format::e4m3, x); });
      return narrow_row<bf16_from_float>(row, k);
    case Format::e5m2:
      each_value(row, k, [](float x) { return round_to(Format::e5m2, x); });
      return narrow_row<bf16_from_float>(row, k);
    default:
      return each_value(row, k, [](float x) { return canonical(x); });
  }
}

/// Rows to columns in registers: the pairs of instructions that move halves of 128-bit lanes.
void transpose(Float8 (&r)[kTile]) {
  Float8 t[kTile], u[kTile];
#pragma GCC unroll 8
  for (int i = 0; i < kTile; i += 2) {
    t[i] = __builtin_shufflevector(r[i], r[i + 1], 0, 8, 1, 9, 4, 12, 5, 13);
    t[i + 1] = __builtin_shufflevector(r[i], r[i + 1], 2, 10, 3, 11, 6, 14, 7, 15);
  }
#pragma GCC unroll 8
  for (int i = 0; i < kTile; i += 4) {
    u[i] = __builtin_shufflevector(t[i], t[i + 2], 0, 1, 8, 9, 4, 5, 12, 13);
    u[i + 1] = __builtin_shufflevector(t[i], t[i + 2], 2, 3, 10, 11, 6, 7, 14, 15);
    u[i + 2] = __builtin_shufflevector(t[i + 1], t[i + 3], 0, 1, 8, 9, 4, 5, 12, 13);
    u[i + 3] = __builtin_shufflevector(t[i + 1], t[i + 3], 2, 3, 10, 11, 6, 7, 14, 15);
  }
#pragma GCC unroll 8
  for (int i = 0; i < kTile / 2; ++i) {
    r[i] = __builtin_shufflevector(u[i], u[i + 4], 0, 1, 2, 3, 8, 9, 10, 11);
    r[i + 4] = __builtin_shufflevector(u[i], u[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
  }
}

/// The same by three riffles.
void transpose(Short8 (&r)[kTile]) {
#pragma GCC unroll 8
  for (int round = 0; round < 3; ++round) {
    Short8 t[kTile];
#pragma GCC unroll 8
    for (int i = 0; i < kTile / 2; ++i) {
      t[2 * i] = __builtin_shufflevector(r[i], r[i + 4], 0, 8, 1, 9, 2, 10, 3, 11);
      t[2 * i + 1] = __builtin_shufflevector(r[i], r[i + 4], 4, 12, 5, 13, 6, 14, 7, 15);
    }
    std::copy(t, t + kTile, r);
  }
}

/// rows (32, k) of T, `stride` bytes apart -> panel (k, 32) of E.
template <class T, class Vector, class E>
void write_panel(const char* rows, std::size_t stride, std::int64_t k, E* panel) {
  const std::int64_t whole = k / kTile * kTile;
  for (std::int64_t column = 0; column < whole; column += kTile) {
    for (int first = 0; first < kPanel; first += kTile) {
      Vector tile[kTile];
#pragma GCC unroll 8
      for (int i = 0; i < kTile; ++i) {
        std::memcpy(&tile[i],
                    rows + std::size_t(first + i) * stride + std::size_t(column) * sizeof(T),
                    sizeof(Vector));
      }
      transpose(tile);
#pragma GCC unroll 8
      for (int i = 0; i < kTile; ++i) {
        E* to = panel + (column + i) * kPanel + first;
        if constexpr (sizeof(E) == sizeof(T)) {
          std::memcpy(to, &tile[i], sizeof(Vector));
        } else {
          for (int j = 0; j < kTile; ++j) to[j] = E(tile[i][j]);
        }
      }
    }
  }
  for (std::int64_t column = whole; column < k; ++column) {
    for (int row = 0; row < kPanel; ++row) {
      T value;
      std::memcpy(&value, rows + std::size_t(row) * stride + std::size_t(column) * sizeof(T),
                  sizeof(T));
      panel[column * kPanel + row] = E(value);
    }
  }
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

std::shared_ptr<void> packed_memory(std::size_t bytes) {
  const std::size_t whole = (bytes + 2 * kAlignment - 1) / kAlignment * kAlignment;
  void* data = std::aligned_alloc(kAlignment, whole);
  if (data == nullptr) throw std::bad_alloc();
  std::memset(static_cast<char*>(data) + bytes, 0, whole - bytes);
  return {data, std::free};
}

std::size_t panel_bytes(const PackedMatrix& m) {
  if (m.blocks != BlockFormat::none) {
    return std::size_t(panel_blocks(m.blocks, m.skip, m.k)) *
           std::size_t(panel_block_bytes(m.blocks));
  }
  return std::size_t(packed_elements(kPanel, m.k)) * element_bytes(m.element);
}

void take_pages([[maybe_unused]] const PackedMatrix& m, [[maybe_unused]] std::int64_t begin,
                [[maybe_unused]] std::int64_t end) {
#if defined(__linux__)
  constexpr int kPopulateWrite = 23;  // MADV_POPULATE_WRITE, Linux 5.14; older headers lack it
  constexpr std::size_t kPage = 4096;
  const auto from = reinterpret_cast<std::uintptr_t>(m.data.get());
  const std::size_t bytes = panel_bytes(m);
  const std::uintptr_t first = (from + std::size_t(begin) * bytes + kPage - 1) / kPage * kPage;
  const std::uintptr_t last = (from + std::size_t(end) * bytes) / kPage * kPage;
  if (first < last) {
    (void)::madvise(reinterpret_cast<void*>(first), last - first, kPopulateWrite);
  }
#endif
}

PackedMatrix describe_packed(const PackSpec& spec) {
  check(spec);
  PackedMatrix m;
  m.n = spec.n;
  m.k = spec.k;
  m.element = element_of(spec.rounded);
  m.bounds = spec.bounds;
  m.scale = spec.scale;
  return m;
}

PackedMatrix make_packed(const PackSpec& spec) {
  PackedMatrix m = describe_packed(spec);
  m.data = packed_memory(std::size_t(m.panels()) * panel_bytes(m));
  return m;
}

std::size_t pack_scratch(std::int64_t k) {
  return std::size_t(row_stride(k) * kPanel);
}

void pack_panels(const PackSpec& spec, const RowReader& read_row, std::int64_t begin,
                 std::int64_t end, std::span<float> scratch, PackedMatrix& m) {
  ISOBIT_CHECK(0 <= begin && begin <= end && end <= m.panels());
  ISOBIT_CHECK(scratch.size() >= pack_scratch(m.k));
  take_pages(m, begin, end);
  const std::int64_t stride = row_stride(m.k);
  const std::size_t bytes = std::size_t(stride) * sizeof(float);
  std::fill(scratch.begin(), scratch.begin() + std::ptrdiff_t(pack_scratch(m.k)), 0.0F);
  const char* const rows = reinterpret_cast<const char*>(scratch.data());
  for (std::int64_t panel = begin; panel < end; ++panel) {
    const std::size_t at = index_of(m, panel * kPanel, 0);
    for (int i = 0; i < kPanel; ++i) {
      float* const row = scratch.data() + i * stride;
      const std::int64_t n = panel * kPanel + i;
      if (n >= m.n) {
        std::fill(row, row + stride, 0.0F);
        continue;
      }
      read_row(n, {row, std::size_t(m.k)});
      if (spec.divide) {
        const float scale = spec.scale[std::size_t(n)];
        each_value(row, m.k, [scale](float x) { return x / scale; });
      }
      round_row(spec.rounded, row, m.k);
    }
    switch (m.element) {
      case Format::f64:
        write_panel<float, Float8>(rows, bytes, m.k, static_cast<double*>(m.data.get()) + at);
        break;
      case Format::f32:
        write_panel<float, Float8>(rows, bytes, m.k, static_cast<float*>(m.data.get()) + at);
        break;
      default:
        write_panel<std::uint16_t, Short8>(rows, bytes, m.k,
                                           static_cast<std::uint16_t*>(m.data.get()) + at);
        break;
    }
  }
}

PackedMatrix pack(const PackSpec& spec, const RowReader& read_row) {
  PackedMatrix m = make_packed(spec);
  std::vector<float> scratch(pack_scratch(m.k));
  pack_panels(spec, read_row, 0, m.panels(), scratch, m);
  return m;
}

template <class T>
T PackedMatrix::at(std::int64_t row, std::int64_t column) const {
  if (blocks != BlockFormat::none) {
    float value;
    block_values(*this, row, column, column + 1, &value);
    return T(value);
  }
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
template <class T>
void PackedMatrix::read(std::int64_t row, T* out) const {
  if constexpr (sizeof(T) == sizeof(float)) {
    if (blocks != BlockFormat::none) return block_values(*this, row, 0, k, out);
  }
  for (std::int64_t column = 0; column < k; ++column) out[column] = at<T>(row, column);
}
template void PackedMatrix::read<float>(std::int64_t, float*) const;
template void PackedMatrix::read<double>(std::int64_t, double*) const;

template float PackedMatrix::at<float>(std::int64_t, std::int64_t) const;
template double PackedMatrix::at<double>(std::int64_t, std::int64_t) const;

}  // namespace isobit::cpu
