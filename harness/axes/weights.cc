// Axis weights: matrices that are rounded to few bits or disturbed by noise when they are loaded
// (runtime/numerics/weight_change.h). Each value is another model: only `stored` gives the
// default's bits.
#include "harness/axes/parse.h"
#include "runtime/numerics/weight_text.h"

namespace isobit {
namespace {

const axes::Words kWords = {"stored", "rtn", "bsr", "gaussian"};

/// A pair selects every value that has it: "bsr:5" all seeds of five bits, "seed:0" the seed that
/// no text names.
void add_pairs(const WeightChange& change, AxisValue& value) {
  const std::string own = change.text.substr(0, change.text.find('+'));
  const std::size_t colon = own.find(':');
  value.head = own.substr(0, colon);
  value.args[value.head] = own.substr(colon + 1);
  value.args["granularity"] = granularity_of(change);
  if (change.kind != WeightChange::Kind::rtn) value.args["seed"] = std::to_string(change.seed);
}

/// One word or pair of a value, which leaves the others open.
bool is_open(const std::string& text) {
  const bool word = text == "rtn" || text == "bsr" || text == "gaussian";
  const bool option = text.starts_with("seed:") || text.starts_with("granularity:");
  return word || (option && text.find('+') == std::string::npos);
}

Result<AxisValue> parse(const RawValue& raw, ValueUse use) {
  RawValue plain = raw;
  for (auto& [key, value] : plain.pairs) std::erase(value, '+');  // "1e+3": a plus joins pairs
  const std::string text = axes::text_of(plain);
  const auto change = parse_weight_change(text);
  if (!change && use == ValueUse::pattern && is_open(text)) return axes::scalar_value(text, {});
  ISOBIT_TRY(change);
  AxisValue value = axes::scalar_value(change->text, *change);
  if (change->changes()) add_pairs(*change, value);
  return value;
}

bool lossless(const AxisValue& value) {
  const auto* change = std::get_if<WeightChange>(&value.setting);
  return change != nullptr && !change->changes();
}

void apply(const AxisValue& value, GenerateRequest& request) {
  request.weights = std::get<WeightChange>(value.setting);
}

}  // namespace

Axis weights_axis() {
  return {
      "weights",
      "stored",
      "stored | {rtn: bits, granularity: channel|tensor} | {bsr: bits, seed: s, granularity: …} "
      "| {gaussian: sigma, seed: s, granularity: …}",
      AxisKind::computation,
      false,
      kWords,
      parse,
      lossless,
      apply};
}

}  // namespace isobit
