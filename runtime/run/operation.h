// One operation of a backend as a cell: no model is loaded, a row of results stands for a token.
//
// Of every shape kWatchedRows rows are watched. What they hold depends on the seed, the operation,
// the shape's id, the data and the row's number alone, so that their bits may depend on nothing of
// the launch: not on how many rows it has, where in it they stand, what the others hold, or where
// in memory they lie. SCHEMA.md, "One operation", says the same for people.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace isobit {

enum class OperationKind : std::uint8_t { none, gemm, attention, rms_norm, softmax };
const char* name_of(OperationKind kind);

/// Where the watched rows of a launch stand among its rows.
enum class RowPlace : std::uint8_t { first, middle, last, scattered };
const char* name_of(RowPlace place);

/// What the other rows hold: numbers of their own, zeros, the format's largest numbers, NaN.
enum class Neighbours : std::uint8_t { random, zeros, huge, nan };
const char* name_of(Neighbours neighbours);

/// What operands are drawn from (operation_data.h).
enum class OperandData : std::uint8_t { random, cancelling, subnormal, wide };
const char* name_of(OperandData data);

struct OperationShape {
  std::string id;
  std::int64_t n = 0, k = 0;                                     // gemm: outputs and inputs
  bool bias = false;                                             // gemm
  std::int64_t heads = 0, kv_heads = 0, head_dim = 0, keys = 0;  // attention
  bool prefill = false;    // attention: queries of one sequence; else each has one of its own
  std::int64_t width = 0;  // rms_norm, softmax
};
/// "gemm q_proj n=576 k=576 bias=false": what names its rows in goldens.
std::string text_of(OperationKind kind, const OperationShape& shape);

constexpr std::int64_t kWatchedRows = 8;            // of every shape
constexpr std::int64_t kMostOperationRows = 65535;  // of a launch

struct OperationRequest {
  OperationKind kind = OperationKind::none;
  std::vector<OperationShape> shapes;
  std::int64_t rows = 1;  // of a launch
  RowPlace place = RowPlace::first;
  Neighbours neighbours = Neighbours::random;
  OperandData data = OperandData::random;
  std::int64_t align = 0;   // elements from an allocation to its first row
  std::int64_t stride = 0;  // elements between the end of a row and the next one
};

/// How many watched rows a launch has room for: half of its rows, so that the others are
/// neighbours.
std::int64_t watched_at_once(std::int64_t rows);
/// Where in a launch of `rows` rows `count` watched ones stand, ascending.
std::vector<std::int64_t> places_of(std::int64_t rows, RowPlace place, std::int64_t count);
/// Which place such a list is; a list may be several, then the first of them.
RowPlace place_of(std::int64_t rows, const std::vector<std::int64_t>& places);
/// Rows that a launch needs for the watched ones to stand there and nowhere else.
std::int64_t least_rows_for(RowPlace place);

}  // namespace isobit
