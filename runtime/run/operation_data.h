// Numbers for operands, drawn from the counter generator by what they are: the seed, the operation,
// the shape's id, the operand's role, a row and a column. No draw depends on another one.
//
//   random      even in (-1, 1), never 0
//   cancelling  three of four columns are pairs, 4096 times a random number and its negative; where
//               the other factor is mirrored() their products cancel exactly, and a sum in another
//               order leaves what it rounded
//   subnormal   the format's subnormal numbers, of either sign
//   wide        magnitudes even over 60 binades, 2^-30 to 2^30; in fp16 from 2^-24 up to where a
//               sum of so many products still fits
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "runtime/numerics/precision.h"
#include "runtime/run/operation.h"

namespace isobit {

class OperandStream {
 public:
  OperandStream(std::uint64_t seed, OperationKind kind, const std::string& shape_id,
                const std::string& role);

  /// One row, each number exact in the format. REQUIRES: f64, f32, bf16 or fp16.
  void draw(OperandData data, Format format, std::int64_t row, std::span<double> out) const;
  /// Random numbers of which columns j and size - 1 - j have the same one.
  void mirrored(Format format, std::int64_t row, std::span<double> out) const;
  /// What a row that is not watched holds.
  void neighbour(Neighbours what, Format format, std::int64_t row, std::span<double> out) const;

 private:
  void words(std::int64_t row, std::span<std::uint32_t> out) const;
  std::uint64_t seed_, name_;
};

/// The nearest number of a format.
double in_format(Format format, double value);

}  // namespace isobit
