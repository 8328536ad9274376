// Which order will a product have? Told from what the library says that it would start, before
// anything runs: kernels' names, their blocks and grids, the heuristic's configuration.
//
// The rules were found on captures of an H200 with cuBLAS 13.1 and are judged on others, whose
// shapes were drawn afterwards (tests/bench/forecast.txt). Callers: cli, search, tests.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "harness/probe/capture.h"
#include "runtime/numerics/product_book.h"

namespace isobit::probe {

/// The order of a product over k columns. `choice`: of Backend::gemm_choice. Empty: a kernel of no
/// kind that is known, or one that has no one order for all outputs.
std::optional<ProductOrder> forecast_order(const std::string& choice, TensorCore chip,
                                           Format operand, std::int64_t k);
/// The kind of a choice's kernel, for tables: "nvjet", "cutlass", "gemvx"; "other".
std::string kind_of_kernel(const std::string& choice);

/// Lines of a matrix's choices, of adjoining runs of rows with one order; none for what has no
/// forecast. REQUIRES: operand_of() the precision.
std::vector<ProductLine> forecast_lines(const MatrixCapture& matrix, TensorCore chip);

struct ForecastCount {
  std::int64_t right = 0, wrong = 0, none = 0;  // calls
};
/// What the rules say of a capture's calls, against every kept result of each; by precision and
/// kind of kernel. Ends early when interrupted. REQUIRES: operand_of() every precision.
std::map<std::pair<std::string, std::string>, ForecastCount> judge_forecasts(const Capture& capture,
                                                                             TensorCore chip);

}  // namespace isobit::probe
