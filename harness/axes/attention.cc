// Axis attention: the order in which attention goes over its keys (runtime/numerics/flash.h). Each
// schedule is another function; only `reference`, the page's own order, gives the default's bits.
#include "harness/axes/parse.h"
#include "runtime/numerics/flash_text.h"

namespace isobit {
namespace {

const axes::Words kWords = {"reference", "flash"};

Result<AxisValue> parse(const RawValue& raw, ValueUse use) {
  if (!axes::is_map(raw)) {
    auto word = axes::closed_value("attention", raw, kWords);
    ISOBIT_TRY(word);
    if (*word == "reference") return axes::scalar_value(*word, FlashSchedule{});
    if (use == ValueUse::pattern) return axes::scalar_value(*word, {});
    return Error{"attention flash needs the keys of a block, e.g. {flash: 64}", ""};
  }
  std::string text = raw.scalar;
  for (const auto& [key, value] : raw.pairs) text += (text.empty() ? "" : "+") + key + ":" + value;
  auto schedule = parse_flash(text);
  ISOBIT_TRY(schedule);
  AxisValue value = axes::scalar_value(schedule->text, *schedule);
  value.head = "flash";
  return value;
}

bool lossless(const AxisValue& value) {
  const auto* schedule = std::get_if<FlashSchedule>(&value.setting);
  return schedule != nullptr && !schedule->emulated();
}

void apply(const AxisValue& value, GenerateRequest& request) {
  request.backend.attention = std::get<FlashSchedule>(value.setting);
}

}  // namespace

Axis attention_axis();  // declared where the table is

Axis attention_axis() {
  return {"attention",
          "reference",
          "reference | {flash: block, splits: n|by_length, p: fp32|bf16|fp16, "
          "stabilise: {beta: x, form: paper|repository}}",
          AxisKind::computation,
          false,
          kWords,
          parse,
          lossless,
          apply,
          true};
}

}  // namespace isobit
