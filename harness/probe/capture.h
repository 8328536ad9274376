// What a library returned, kept as text: products of drawn operands at a few places each.
//
// A capture is written once where the library is and read where the schedules are searched. The
// file begins with "isobit capture 1", then lines
//   fact NAME VALUE              what ran, and where; "results operand": results were rounded to
//                                the operands' format
//   matrix PRECISION N K         the weights of what follows
//   choice FROM TO TEXT          what the library said that it chooses for these numbers of rows
//   call M DRAW HEX…             the fp32 results at kept_places(M, N), eight digits each
//   end CALLS                    the matrix is whole
// Callers: cli, tests.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/base/result.h"
#include "runtime/numerics/precision.h"
#include "runtime/numerics/product_book.h"

namespace isobit::probe {

/// What ran, and where, by name.
using Facts = BookKeys;

struct Call {
  std::int64_t rows = 0, draw = 0;
  std::vector<std::uint32_t> bits;
};
/// Numbers of rows for which the library named the same kernels.
struct Choice {
  std::int64_t from = 0, to = 0;
  std::string text;  // "" where it says nothing
};
struct MatrixCapture {
  std::string precision;
  std::int64_t outputs = 0, inputs = 0;
  bool rounded = false;  // results are in the operands' format
  std::vector<Choice> choices;
  std::vector<Call> calls;
};
struct Capture {
  Facts facts;
  std::vector<MatrixCapture> matrices;
};

/// The mode of a precision that can be probed: fp32, tf32, bf16, fp16, fp8-e4m3; else nullptr.
const Mode* operand_of(const std::string& precision);
/// Whether the GPU that facts name is known to have sm90's tensor cores.
bool is_hopper(const Facts& facts);
/// A capture's text up to its last whole matrix: what an interrupted probe left. "": none.
std::string whole_part(const std::string& bytes);
std::string facts_text(const Facts& facts);  // with the first line
std::string text_of(const MatrixCapture& matrix);
/// Errors have the place "NAME:line".
Result<Capture> parse_capture(const std::string& bytes, const std::string& name);

}  // namespace isobit::probe
