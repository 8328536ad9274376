// Packing a rank's slice of a weight matrix into panels, once, at load.
//
// Promise: the packed element is exactly R(value) of the format asked for, in the smallest element
// type that holds it; the padding past the last output is zero. A panel is a pure function of its
// rows, so panels may be packed by any number of threads. Callers: the CPU backend, tests.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "runtime/backends/cpu/kernels/kernels.h"

namespace isobit::cpu {

/// What a slice is. Columns are the slice's own: [0, k).
struct PackSpec {
  std::int64_t n = 0;  // outputs
  std::int64_t k = 0;  // columns
  /// Owned segments in slice columns, ascending, from 0 to k; empty when the rank owns none.
  std::vector<std::int64_t> bounds;
  Format rounded = Format::f32;  // R applied to every value
  /// Per output (n), or empty. A value is divided by its scale before R when `divide` is set;
  /// a checkpoint's own 8-bit values come undivided.
  std::vector<float> scale;
  bool divide = false;
};

/// Fills `out` (k) with the slice's columns of one output row.
using RowReader = std::function<void(std::int64_t row, std::span<float> out)>;

/// The element type that holds every value of a format: f32 for tf32, bf16 for the 8-bit ones.
Format element_of(Format rounded);

/// Elements of a panel-packed matrix, padding included.
std::int64_t packed_elements(std::int64_t n, std::int64_t k);

/// Bytes of one panel, of elements or of blocks.
std::size_t panel_bytes(const PackedMatrix& m);

/// What a matrix is, without its memory.
/// REQUIRES: bounds and scale as PackSpec says (checked).
PackedMatrix describe_packed(const PackSpec& spec);

/// A matrix with its memory taken, nothing in it written yet.
/// REQUIRES: bounds and scale as PackSpec says (checked).
PackedMatrix make_packed(const PackSpec& spec);

/// Working memory that pack_panels needs, in floats.
std::size_t pack_scratch(std::int64_t k);

/// Writes panels [begin, end) of what make_packed(spec) gave, each once from first to last byte.
/// Allocates nothing. REQUIRES: scratch.size() >= pack_scratch(k), not shared between threads.
void pack_panels(const PackSpec& spec, const RowReader& read_row, std::int64_t begin,
                 std::int64_t end, std::span<float> scratch, PackedMatrix& m);

/// All of it on this thread.
PackedMatrix pack(const PackSpec& spec, const RowReader& read_row);

/// Memory that is about to be written whole: 64-byte aligned, one line more than asked so that a
/// whole register may be read past the end. Not in huge pages: those come from memory that was
/// never touched, which a virtual machine may not have yet (measured: six times slower).
std::shared_ptr<void> packed_memory(std::size_t bytes);

/// Takes the pages of panels [begin, end), which are about to be written, in one call: it costs
/// three quarters of what a fault a page does. Memory stays as it is; where the system has no such
/// call, nothing is done. Packing begins with it, so that every thread takes its own.
void take_pages(const PackedMatrix& m, std::int64_t begin, std::int64_t end);

}  // namespace isobit::cpu
