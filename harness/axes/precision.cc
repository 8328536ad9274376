// Axis precision: what is rounded where (NUMERICS.md, "Precisions"). Each value is another
// function.
#include "harness/axes/parse.h"

namespace isobit {
namespace {

const axes::Words& names() {
  static const axes::Words all = [] {
    axes::Words out;
    for (const Mode& mode : kModes) out.emplace_back(mode.name);
    return out;
  }();
  return all;
}

Result<AxisValue> parse(const RawValue& raw, ValueUse) {
  auto word = axes::closed_value("precision", raw, names());
  ISOBIT_TRY(word);
  for (const Mode& mode : kModes) {
    if (*word == mode.name) return axes::scalar_value(*word, mode.precision);
  }
  ISOBIT_CHECK(false);  // the words are the modes' names
  return AxisValue{};
}

void apply(const AxisValue& value, GenerateRequest& request) {
  request.precision = std::get<Precision>(value.setting);
}

}  // namespace

Axis precision_axis() {
  std::string help;
  for (const std::string& name : names()) help += (help.empty() ? "" : " | ") + name;
  return {"precision", "fp32",      help, AxisKind::computation, false, names(),
          parse,       axes::never, apply};
}

}  // namespace isobit
