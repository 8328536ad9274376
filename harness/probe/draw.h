// What a probe multiplies: rows and weights drawn by place, so that a machine without the library
// makes the same operands again, and the places of a product that are kept.
//
// Promise: a value depends on (draw, side, row, column) alone, through Philox. Row r of a side is
// row r mod its period: a library does not read what it multiplies before it chooses a kernel, and
// a large matrix costs no more than its first rows. Callers: this folder, tests.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "runtime/numerics/precision.h"

namespace isobit::probe {

constexpr std::int64_t kWeightPeriod = 61, kRowPeriod = 53;
constexpr int kKeptPlaces = 68;  // four corners, the rest drawn

/// Draws from this one on are those before with sums that cancel: the second half of the columns
/// repeats the first with weights of the other sign (an odd last column is zero). What is left is
/// rounding, which 16 bits show whole.
constexpr std::int64_t kCancellingDraw = 32;

/// Operands of one draw. Even draws: about a normal distribution. Odd ones: magnitudes spread
/// evenly over 2^-8 to 2^8, so that a sum is ruled by few of its terms and shows where they meet.
class Operands {
 public:
  Operands(std::int64_t draw, std::int64_t inputs, Format weights, Format rows);
  /// Row n of the weights, (inputs), rounded to their format.
  [[nodiscard]] std::span<const float> weights(std::int64_t n) const;
  /// Row m of the rows, (inputs), rounded to theirs.
  [[nodiscard]] std::span<const float> row(std::int64_t m) const;

 private:
  std::int64_t inputs_;
  std::vector<float> weights_, rows_;
};

/// What an attention call takes. Queries of odd draws are four times as large.
enum class AttentionSide : std::uint32_t { queries = 16, keys = 17, values = 18 };
/// (count, columns): rows from `first` on of one head, which has a number of its own, sequence
/// times heads plus head; about a normal distribution, rounded to the format.
std::vector<float> attention_rows(std::int64_t draw, AttentionSide side, std::int64_t number,
                                  std::int64_t first, std::int64_t count, std::int64_t columns,
                                  Format format);

struct Place {
  std::int64_t row, output;
  bool operator==(const Place&) const = default;
};
/// Where a product of so many rows and outputs is kept: the corners first.
std::vector<Place> kept_places(std::int64_t rows, std::int64_t outputs);

}  // namespace isobit::probe
