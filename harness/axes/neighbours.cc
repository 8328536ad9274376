// Axis neighbours: what the rows of a launch hold that are not watched. Lossless: a row is not
// computed from its neighbours.
#include <algorithm>

#include "harness/axes/parse.h"

namespace isobit {
namespace {

const axes::Words kWords = {"random", "zeros", "huge", "nan"};

Result<AxisValue> parse(const RawValue& raw, ValueUse) {
  auto word = axes::closed_value("neighbours", raw, kWords);
  ISOBIT_TRY(word);
  const auto at = std::find(kWords.begin(), kWords.end(), *word) - kWords.begin();
  return axes::scalar_value(*word, static_cast<Neighbours>(at));
}

void apply(const AxisValue& value, GenerateRequest& request) {
  request.operation.neighbours = std::get<Neighbours>(value.setting);
}

}  // namespace

Axis neighbours_axis() {
  return {"neighbours",    kWords.front(), "random | zeros | huge | nan",
          AxisKind::place, false,          kWords,
          parse,           axes::always,   apply};
}

}  // namespace isobit
