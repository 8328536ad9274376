// Axis engine: who computes (the table of runtime/backends/registry.h). No value is lossless: only
// a deterministic engine has golden classes, and its name is part of them.
#include "harness/axes/parse.h"

namespace isobit {
namespace {

axes::Words names() {
  axes::Words out;
  for (const EngineEntry& row : engine_entries()) out.push_back(row.name);
  return out;
}

Result<AxisValue> parse(const RawValue& raw, ValueUse use) {
  // The name of an engine alone is every value of it, also where it is no value by itself.
  const bool name = raw.pairs.empty() && find_engine(raw.scalar) != nullptr;
  if (use == ValueUse::pattern && name) return axes::scalar_value(raw.scalar, {});
  auto choice = parse_engine(axes::pairs_of(raw), raw.folder);
  ISOBIT_TRY(choice);
  AxisValue value{choice->text(), {}, choice->name, {}};
  value.args.insert(choice->pairs.begin(), choice->pairs.end());
  value.setting = std::move(*choice);
  return value;
}

void apply(const AxisValue& value, GenerateRequest& request) {
  request.backend.engine = std::get<EngineChoice>(value.setting);
}

}  // namespace

Axis engine_axis() {
  std::string help;
  for (const EngineEntry& row : engine_entries()) help += (help.empty() ? "" : " | ") + row.help;
  Axis axis{"engine", "reference", help, AxisKind::place, false, names(),
            parse,    axes::never, apply};
  axis.lists = true;
  return axis;
}

}  // namespace isobit
