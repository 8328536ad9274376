// Axis place: where the watched rows stand in their launch. Lossless: a row has no place.
#include <algorithm>

#include "harness/axes/parse.h"

namespace isobit {
namespace {

const axes::Words kWords = {"first", "middle", "last", "scattered"};

Result<AxisValue> parse(const RawValue& raw, ValueUse) {
  auto word = axes::closed_value("place", raw, kWords);
  ISOBIT_TRY(word);
  const auto at = std::find(kWords.begin(), kWords.end(), *word) - kWords.begin();
  return axes::scalar_value(*word, static_cast<RowPlace>(at));
}

void apply(const AxisValue& value, GenerateRequest& request) {
  request.operation.place = std::get<RowPlace>(value.setting);
}

}  // namespace

Axis place_axis() {
  return {"place",         kWords.front(), "first | middle | last | scattered",
          AxisKind::place, false,          kWords,
          parse,           axes::always,   apply};
}

}  // namespace isobit
