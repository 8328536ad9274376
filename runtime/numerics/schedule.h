// Emulated schedules: the reference's operations in the order of somebody else's kernels
// (NUMERICS.md, "Emulated schedules"). Types, and the literal text of a scheduled product; host and
// device. The texts of schedules are schedule_text.h, the file of a book is schedule_book.h.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/numerics/formats.h"
#include "runtime/numerics/fused_choice.h"

namespace isobit {

/// How one product of a rank adds: K is cut into slices, each is one FMA chain over ascending k
/// from +0, the slices' sums meet, and the result is rounded to `out`.
struct GemmSchedule {
  enum class Combine : std::uint8_t { ascending, tree };
  std::int32_t split_k = 1;  // slices at most, 1 to kMostSlices
  std::int32_t slice = 8;    // their length is a multiple of this
  Combine combine = Combine::ascending;
  Format out = Format::f32;  // f32, bf16 or fp16
  bool operator==(const GemmSchedule&) const = default;

  /// Columns of a slice of a product over k columns; the last one may be shorter.
  [[nodiscard]] ISOBIT_HD std::int64_t slice_length(std::int64_t k) const {
    const std::int64_t even = (k + split_k - 1) / split_k;
    const std::int64_t length = (even + slice - 1) / slice * slice;
    return length < 1 ? 1 : length;
  }
  /// Slices that hold a column.
  [[nodiscard]] ISOBIT_HD std::int64_t slices(std::int64_t k) const {
    const std::int64_t length = slice_length(k);
    return k == 0 ? 0 : (k + length - 1) / length;
  }
};
constexpr std::int32_t kMostSlices = 64;
constexpr std::int64_t kLargestSlice = 65536;

/// Meets n sums: ((s0 + s1) + s2) + …, or neighbours until one is left, where an odd one stays.
template <class T>
ISOBIT_HD inline T combine_slices(GemmSchedule::Combine combine, T* s, std::int64_t n) {
  if (combine == GemmSchedule::Combine::ascending) {
    for (std::int64_t i = 1; i < n; ++i) s[0] = s[0] + s[i];
    return s[0];
  }
  for (std::int64_t m = n; m > 1; m = (m + 1) / 2) {
    for (std::int64_t i = 0; i < m / 2; ++i) s[i] = s[2 * i] + s[2 * i + 1];
    if (m % 2 == 1) s[m / 2] = s[m - 1];
  }
  return s[0];
}

/// What n slices' sums give: combined, rounded, canonical; +0 of none.
template <class T>
ISOBIT_HD inline T end_slices(const GemmSchedule& schedule, T* s, std::int64_t n) {
  if (n == 0) return T(0);
  return canonical(T(round_to(schedule.out, combine_slices(schedule.combine, s, n))));
}

/// One element of a scheduled product, before scales, bias and the mode's rounding.
template <class T, class A, class B>
ISOBIT_HD inline T scheduled_dot(const GemmSchedule& schedule, const A& a, const B& b,
                                 std::int64_t k) {
  T sum[kMostSlices] = {T(0)};
  const std::int64_t length = schedule.slice_length(k), n = schedule.slices(k);
  for (std::int64_t s = 0; s < n; ++s) {
    const std::int64_t end = (s + 1) * length < k ? (s + 1) * length : k;
    T acc = T(0);
    for (std::int64_t i = s * length; i < end; ++i) acc = fma_(T(a(i)), T(b(i)), acc);
    sum[s] = acc;
  }
  return end_slices(schedule, sum, n);
}

/// A line of a schedule book: which products it speaks of, and their schedule.
struct ScheduleLine {
  std::int64_t outputs = 0, inputs = 0;     // N and K of the product that one rank makes; 0: any
  std::int64_t from_rows = 1, to_rows = 0;  // M; to_rows 0: no end
  GemmSchedule schedule;
  bool operator==(const ScheduleLine&) const = default;
};

/// Schedules of products by their shape. The first line that fits decides.
struct ScheduleBook {
  std::string text;  // canonical, of the axis: "split_k:4+slice:64", "book:NAME@DIGEST"
  std::vector<ScheduleLine> lines;
  /// Whether the schedule of a product depends on its rows, and so on batch and cache.
  [[nodiscard]] bool by_rows() const;
  /// nullptr where no line fits.
  [[nodiscard]] const GemmSchedule* find(std::int64_t outputs, std::int64_t inputs,
                                         std::int64_t rows) const;
};

/// How attention goes over the keys: in blocks with a running maximum and one rescaling a block, as
/// fused kernels do.
struct FlashSchedule {
  std::string text = "reference";  // canonical, of the axis; "reference": none of this
  std::int32_t block = 0;   // keys of a block, at absolute positions; 0: the reference's order
  std::int32_t splits = 1;  // of the key blocks, each with a state of its own
  bool by_length = false;   // splits are chosen by the step's rows and longest context
  Format p = Format::f32;   // rounding of P before PV: f32, bf16 or fp16
  double beta = 0;          // of the stabilised maximum; 0: none
  bool loose = false;       // the repository's form of it: maxima within 1e-3, sums not below 1e-10
  FusedChoice fused;        // instead of all that: a library's kernel, in family H alone
  [[nodiscard]] bool emulated() const { return block > 0; }
  [[nodiscard]] bool is_fused() const { return fused.kernel != FusedKernel::none; }
  [[nodiscard]] bool usual() const { return !emulated() && !is_fused(); }
};

}  // namespace isobit
