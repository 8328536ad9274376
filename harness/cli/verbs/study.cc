// `isobit study flash-bias`: signed errors of low-precision attention, by repeated maxima and sign
// of V, with and without the published mitigation.
#include <algorithm>
#include <cstdio>

#include "harness/cli/study/flash_bias.h"
#include "harness/cli/study/recorded.h"
#include "harness/cli/verbs/common.h"
#include "harness/cli/verbs/verbs.h"

namespace isobit::commands {
namespace {

using study::BiasLine;

Json line_json(const BiasLine& line) {
  return {{"rows_are", line.rows_are},
          {"format", line.format},
          {"values", line.values},
          {"maxima", line.maxima},
          {"mitigation", line.mitigation},
          {"rounded", line.rounded},
          {"rows", line.rows},
          {"lost", line.lost},
          {"output_error", line.output_error},
          {"output_standard_error", line.output_standard_error},
          {"output_size", line.output_size},
          {"delta_error", line.delta_error},
          {"delta_standard_error", line.delta_standard_error},
          {"delta_size", line.delta_size}};
}

/// "-812 ± 31 (3 lost)": a mean and its standard error in millionths of a size.
std::string millionths(double error, double standard_error, double size, std::int64_t rows,
                       std::int64_t lost) {
  char text[80];
  std::snprintf(text, sizeof text, "%+.0f ± %.0f", 1e6 * error / size, 1e6 * standard_error / size);
  std::string out = lost == rows ? "-" : text;
  if (lost > 0) out += " (" + std::to_string(lost) + " lost)";
  return out;
}

/// One table line for each class of rows: the mitigations side by side.
std::string text_of(const std::vector<BiasLine>& lines, const std::string& rounded, bool delta) {
  std::vector<std::vector<std::string>> rows = {{"rows", "format", "V", "maxima", "count"}};
  for (const auto& each : study::mitigations()) rows[0].emplace_back(each.name);
  for (const BiasLine& line : lines) {
    if (line.rounded != rounded) continue;
    const std::vector<std::string> key = {line.rows_are, line.format, line.values, line.maxima,
                                          std::to_string(line.rows)};
    auto row = std::find_if(rows.begin(), rows.end(), [&](const auto& known) {
      return std::equal(key.begin(), key.end(), known.begin());
    });
    if (row == rows.end()) row = rows.insert(rows.end(), key);
    row->push_back(delta ? millionths(line.delta_error, line.delta_standard_error, line.delta_size,
                                      line.rows, line.lost)
                         : millionths(line.output_error, line.output_standard_error,
                                      line.output_size, line.rows, line.lost));
  }
  return table(rows);
}

void print_tables(const std::vector<BiasLine>& lines) {
  const std::pair<const char*, const char*> kinds[] = {
      {"sum", "P V rounded before it is divided by the sum of P"},
      {"quotient", "the output rounded, after the division"}};
  for (const auto& [rounded, says] : kinds) {
    print(
        std::string("\nmean signed error of the output, in millionths of its mean size, ± standard "
                    "error: ") +
        says + "\n" + text_of(lines, rounded, false));
    print("\nthe same of delta = rowsum(dO * O), over all channels of such rows\n" +
          text_of(lines, rounded, true));
  }
}

}  // namespace

Result<int> study(const Arguments& arguments) {
  const auto seed = arguments.number("seed", 1, 0, std::int64_t(1) << 53);
  ISOBIT_TRY(seed);
  const auto rows = arguments.number("rows", 1000, 2, 10'000'000);
  ISOBIT_TRY(rows);
  const bool recorded = arguments.has("model");
  if (recorded != arguments.has("prompts")) {
    return Error{recorded ? "the prompts to record are missing: --prompts FILE"
                          : "prompts are those of a model: --model MODEL",
                 recorded ? "--model" : "--prompts"};
  }
  if (recorded && (arguments.has("rows") || arguments.has("seed"))) {
    return Error{"a model's rows are not drawn", arguments.has("rows") ? "--rows" : "--seed"};
  }
  if (!recorded && arguments.has("precision")) {
    return Error{"drawn rows have no model's precision: --model MODEL", "--precision"};
  }
  Result<std::vector<BiasLine>> lines =
      recorded ? study::recorded_bias(arguments.text("model"), arguments.text("prompts"),
                                      arguments.text("precision", "bf16"))
               : study::synthetic_bias(std::uint64_t(*seed), *rows);
  ISOBIT_TRY(lines);
  if (arguments.has("json")) {
    Json all = Json::array();
    for (const BiasLine& line : *lines) all.push_back(line_json(line));
    Json out = {{"format", kOutputFormat}, {"study", "flash-bias"}};
    if (recorded) {
      out["model"] = arguments.text("model");
      out["precision"] = arguments.text("precision", "bf16");
    } else {
      out["seed"] = *seed;
    }
    out["lines"] = all;
    print_json(out);
    return int(kExitOk);
  }
  print(recorded ? "recorded rows of " + shown_text(arguments.text("model")) + "\n"
                 : "drawn rows: 64 keys, 16 channels, seed " + std::to_string(*seed) + "\n");
  print_tables(*lines);
  return int(kExitOk);
}

}  // namespace isobit::commands
