// Biased rounding in low-precision attention, measured: rows of scores and values through
// numerics/flash.h in bf16 and fp16 beside fp64, without and with the published mitigation (Qiu &
// Yao, arXiv 2510.04212). Callers: verbs/study.cc and tests.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/base/result.h"
#include "runtime/numerics/precision.h"

namespace isobit::study {

/// One query: its scores, and the values and the output's gradient in `channels` columns.
struct BiasRow {
  std::int64_t channels = 0;
  std::vector<float> scores;  // (keys)
  std::vector<float> values;  // (keys, channels), exact in the format that is measured
  std::vector<float> d_out;   // (channels); empty: the output itself, in that format
};

/// What of a row's P V is rounded to 16 bits.
enum class Rounded : std::uint8_t {
  sum,      // P V, before it is divided by the sum of P: as the paper writes attention
  quotient  // the output, after the division: as FlashAttention-2's kernels do
};
struct Mitigation {
  const char* name;  // "none", "paper", "repository"
  double beta;
  bool loose;
};
const std::vector<Mitigation>& mitigations();

/// Mean signed errors of some rows against fp64, and their standard errors; "size" is the mean
/// magnitude of what they are errors of. A row counts once, as the mean over its channels.
struct BiasLine {
  std::string rows_are;  // "sink", "sharp", "broad"; of recorded rows "scores fp32", "scores bf16"
  std::string format;    // of P, V and what is rounded: "bf16", "fp16"
  std::string values;    // sign of V at the maxima: "negative", "mixed", "positive"
  std::string maxima;    // scores that equal the row's greatest: "1", "2", "3-4"
  std::string mitigation;
  std::string rounded;    // "sum", "quotient"
  std::int64_t rows = 0;  // of which `lost` gave no finite output, or zeros alone
  std::int64_t lost = 0;
  double output_error = 0, output_standard_error = 0, output_size = 0;
  double delta_error = 0, delta_standard_error = 0, delta_size = 0;
};

/// `rows` drawn rows for each line: 64 keys, 16 channels, 1, 2, 4 or 8 equal maxima of either sign,
/// the other scores below them by 12 to 20 (sink), 8 to 16 (sharp) or 1 to 9 (broad); |V| in
/// [1, 2), so that sums of V have a bit more than V. Depends on seed and rows alone.
std::vector<BiasLine> synthetic_bias(std::uint64_t seed, std::int64_t rows);

/// Rows of a real model: see recorded.h. Gathers them by what they are.
class BiasTable {
 public:
  /// `block`: keys of a block.
  explicit BiasTable(std::int32_t block) : block_(block) {}
  /// Measures a row in every format, mitigation and rounding; values are rounded to the format
  /// first. `column`: a class for each channel, ("negative", …); one for all of them if it has one.
  void add(const std::string& rows_are, const std::string& maxima,
           const std::vector<std::string>& column, const BiasRow& row);
  [[nodiscard]] std::vector<BiasLine> lines() const;

 private:
  struct Sums {
    BiasLine line;
    double error = 0, error_squared = 0, size = 0, delta = 0, delta_squared = 0, delta_size = 0;
  };
  void add_in(Format format, const std::string& rows_are, const std::string& maxima,
              const std::vector<std::string>& column, BiasRow row);
  Sums& sums_of(const BiasLine& wanted);
  std::int32_t block_;
  std::vector<Sums> sums_;  // in the order of their first row
};

/// How often the greatest score of a row stands there: "1", "2", "3-4", "5-8", "9 or more".
std::string class_of_maxima(std::int64_t maxima);

}  // namespace isobit::study
