// Axis isa: the instruction set of the CPU's kernels. Lossless: the same bits from each.
#include "harness/axes/parse.h"

namespace isobit {
namespace {

const axes::Words kIsas = {"auto", "scalar", "avx2", "avx512", "neon"};

Result<AxisValue> parse(const RawValue& raw, ValueUse) {
  auto word = axes::closed_value("isa", raw, kIsas);
  ISOBIT_TRY(word);
  return axes::scalar_value(*word, *word);
}

void apply(const AxisValue& value, GenerateRequest& request) {
  request.backend.isa = std::get<std::string>(value.setting);
}

}  // namespace

Axis isa_axis() {
  return {"isa",           "auto",       "auto (the best) | scalar | avx2 | avx512 | neon",
          AxisKind::place, false,        kIsas,
          parse,           axes::always, apply};
}

}  // namespace isobit
